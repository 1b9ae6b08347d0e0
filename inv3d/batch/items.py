"""The items of a batch: what a folder, a list or a zip of captures holds, each with a name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inv3d.core.errors import InputError
from inv3d.io.formats import PICTURES, VIDEOS

LIST, ZIP = ".txt", ".zip"
_SINGLE = PICTURES | VIDEOS
_FILES = _SINGLE | {ZIP}
# by which a folder is known as a capture itself
_OF_A_CAPTURE = frozenset(
    ("dataset.json", "transforms.json", "cameras.json", "labels.npy", "depth.json", "sparse")
)
_NAMED = " = "
_SAMPLE = "sample:"


@dataclass(frozen=True)
class Item:
    """A capture, a picture or a clip.

    Attributes:
        name: unique in the batch; that of its run directory.
        input: as `3dinv run --input` takes it; an absolute path, or "sample:NAME".
    """

    name: str
    input: str


def find_items(source: Path, captures: Path) -> list[Item]:
    """Return the items, in their natural order.

    Args:
        source: a folder or zip whose folders, zips, pictures and clips are the items, or a text
            file with a path a line, or NAME = PATH; paths are relative to the file.
        captures: folder into which a zip is unpacked.

    Raises:
        InputError: where there are none, one is there twice, or names can't be told apart.
    """
    suffix = source.suffix.lower()
    if source.is_dir():
        items = _of_folder(source)
    elif not source.is_file():
        raise InputError(f"CAPTURES {source}: no such folder, list or zip")
    elif suffix == LIST:
        items = _of_list(source)
    elif suffix == ZIP:
        from inv3d.batch.unpack import unpacked

        folder = unpacked(source, captures)
        items = _of_folder(folder, shown=source) if folder.is_dir() else []
    else:
        raise InputError(
            f"CAPTURES {source}: expected a folder, a zip, or a list of paths that ends in {LIST}; "
            "for a single capture take '3dinv run --input'"
        )
    _check(items, source)
    return items


def _of_folder(folder: Path, shown: Path | None = None) -> list[Item]:
    from inv3d.io.files import natural

    names = [name for name in _listed(folder) if not name.startswith((".", "__MACOSX"))]
    mine = sorted(_OF_A_CAPTURE & set(names))
    if mine:
        raise InputError(
            f"CAPTURES {shown or folder}: is a capture itself (it has {mine[0]}); give the folder "
            "that holds several, or take '3dinv run --input'"
        )
    found = [folder.absolute() / name for name in sorted(names, key=natural)]
    return [
        Item(path.name if path.is_dir() else path.stem, str(path))
        for path in found
        if path.is_dir() or path.suffix.lower() in _FILES
    ]


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise InputError(f"CAPTURES {folder}: can't be read ({error.strerror})") from None


def _of_list(path: Path) -> list[Item]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"CAPTURES {path}: can't be read ({error}); write it as UTF-8") from None
    return [
        _of_line(line, f"{path}, line {number}", path.parent.absolute())
        for number, line in enumerate(map(str.strip, lines), 1)
        if line and not line.startswith("#")
    ]


def _of_line(line: str, where: str, folder: Path) -> Item:
    name, sign, text = line.partition(_NAMED)
    name, text = (name.strip(), text.strip()) if sign else ("", line)
    if text.startswith(_SAMPLE):
        return Item(name or text.removeprefix(_SAMPLE), text)
    place = folder / text
    name = name or (place.stem if place.suffix.lower() in _FILES else place.name)
    if name in ("", ".", "..") or name.startswith(".") or set(name) & set("/\\\0"):
        raise InputError(
            f"{where}: {name!r} can't be the name of a folder; write NAME = PATH with another name"
        )
    return Item(name, str(place))


def _check(items: Sequence[Item], source: Path) -> None:
    if not items:
        raise InputError(
            f"CAPTURES {source}: nothing to invert in it; expected folders, zips, pictures or "
            "videos, or a list of their paths"
        )
    for _, item in _doubles(items, lambda item: _place(item.input)):
        raise InputError(f"CAPTURES {source}: {item.input} is there twice; leave one out")
    for first, item in _doubles(items, lambda item: _folded(item.name)):
        how = "have one name" if first.name == item.name else "differ in capitals only"
        raise InputError(
            f"CAPTURES {source}: {first.input} and {item.input} {how}, and so would their run "
            "directories; rename one, or give a list with lines NAME = PATH"
        )


def _doubles(items: Sequence[Item], key: Callable[[Item], str]) -> Iterator[tuple[Item, Item]]:
    """Yield every item whose key an earlier one has, after that one."""
    seen: dict[str, Item] = {}
    for item in items:
        first = seen.setdefault(key(item), item)
        if first is not item:
            yield first, item


def _place(text: str) -> str:
    return text if text.startswith(_SAMPLE) else os.path.realpath(text)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
