"""The items of a batch: what a folder, a list or a zip of captures holds, each with a name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inv3d.core.errors import InputError
from inv3d.io.formats import PICTURES, VIDEOS
from inv3d.rundir.batch import ROWS
from inv3d.rundir.files import RECORD

LIST, ZIP = ".txt", ".zip"
_SINGLE = PICTURES | VIDEOS
_FILES = _SINGLE | {ZIP}
# by which a folder is known as a capture itself
_OF_A_CAPTURE = frozenset(
    ("dataset.json", "transforms.json", "cameras.json", "labels.npy", "depth.json", "sparse")
)
_NAMED = re.compile(r"(.*?)(?:^|\s+)=(?:\s+|$)(.*)")
# bytes of a name, so that others can be made of it by adding to it
_LONGEST = 200
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


def find_items(source: Path, captures: Path, out: Path | None = None) -> list[Item]:
    """Return the items, in their natural order.

    Args:
        source: a folder or zip whose folders, zips, pictures and clips are the items, or a text
            file with a path a line, or NAME = PATH; paths are relative to the file.
        captures: folder into which a zip is unpacked.
        out: directory of the batch, which is no item where it lies among them.

    Raises:
        InputError: where there are none, one is there twice, or names can't be told apart.
    """
    suffix = source.suffix.lower()
    if source.is_dir() and (source / RECORD).is_file():
        raise InputError(
            f"CAPTURES {source}: is a run (it has {RECORD}), whose pictures would be items; give "
            "the folder of the captures"
        )
    if source.is_dir():
        items = [item for item in _of_folder(source) if not _is_output(Path(item.input), out)]
        if out is not None and _place(str(out)) == _place(str(source)):
            raise InputError(
                f"CAPTURES {source}: is --out too, whose files would be items then; choose another "
                "--out"
            )
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


def _is_output(path: Path, out: Path | None) -> bool:
    """Whether a folder is the directory of this batch, or of another one."""
    ours = out is not None and _place(str(out)) == _place(str(path))
    return ours or (path / ROWS).is_file()


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise InputError(f"CAPTURES {folder}: can't be read ({error.strerror})") from None


def _of_list(path: Path) -> list[Item]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"CAPTURES {path}: can't be read ({error}); write it as UTF-8") from None
    return [
        _of_line(line, f"{path}, line {number}", path.parent.absolute())
        for number, line in enumerate(map(str.strip, lines), 1)
        if line and not line.startswith("#")
    ]


def _of_line(line: str, where: str, folder: Path) -> Item:
    named = _NAMED.fullmatch(line)
    name, text = named.groups() if named else ("", line)
    if named and not (name and text):
        raise InputError(f"{where}: {line!r} is half a line; expected PATH, or NAME = PATH")
    if text.startswith(_SAMPLE):
        return Item(name or text.removeprefix(_SAMPLE), text)
    place = folder / text
    name = name or (place.stem if place.suffix.lower() in _FILES else place.name)
    if not name.isprintable() or not name or name[0] == "." or set(name) & set("/\\"):
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
    for item in items:
        _check_name(item, source)
    if not any(item.input.startswith(_SAMPLE) or os.path.lexists(item.input) for item in items):
        raise InputError(
            f"CAPTURES {source}: none of its {len(items)} paths is there, such as "
            f"{items[0].input}; those in a list are relative to its folder"
        )
    for first, item in _doubles(items, lambda item: _place(item.input)):
        same = f"{first.input} and {item.input} are the same"
        twice = f"{item.input} is there twice" if first.input == item.input else same
        raise InputError(f"CAPTURES {source}: {twice}; leave one out")
    for first, item in _doubles(items, lambda item: _folded(item.name)):
        how = "differ in capitals, or in the encoding of accents, only"
        how = "have one name" if first.name == item.name else how
        raise InputError(
            f"CAPTURES {source}: {first.input} and {item.input} {how}, and so would their run "
            "directories; rename one, or give a list with lines NAME = PATH"
        )


def _check_name(item: Item, source: Path) -> None:
    """Refuse a name of which no run directory, or no line of text, can be made."""
    try:
        size = len(item.name.encode())
    except UnicodeEncodeError:
        raise InputError(
            f"CAPTURES {source}: the name {item.name!a} isn't UTF-8; rename it, or give a "
            "list with lines NAME = PATH"
        ) from None
    if size > _LONGEST:
        raise InputError(
            f"CAPTURES {source}: {item.name[:40]}... has a name of {size} bytes, and a run "
            f"directory may have {_LONGEST}; rename it, or give a list with lines NAME = PATH"
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
