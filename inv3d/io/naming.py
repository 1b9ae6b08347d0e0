"""Which image a name means: the images of a capture, found by name, in `images/` or by stem."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from inv3d.core.errors import InputError
from inv3d.io.files import Files, natural
from inv3d.io.formats import PICTURES

IMAGES, MASKS, DEPTH = "images", "masks", "depth"
# beside a capture that was made of photographs or a video: how
PREPARED = "prepare.json"


@dataclass(frozen=True)
class Matches:
    """Which names have an image.

    Attributes:
        paths: name in the capture -> path of the image.
        labels: name in the capture -> name of the label.
        lost: labels without an image.
        renamed: those among `labels` that another ending was found for.
        moved: those among `labels` that an image in another folder was found for.
    """

    paths: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


class Images:
    """The images below a folder.

    Attributes:
        paths: in the files, frame2 before frame10.
    """

    def __init__(self, files: Files, root: str) -> None:
        self._files = files
        self._root = root
        self.paths = sorted((name for name in files.names if is_image(name, root)), key=natural)
        self._there = frozenset(self.paths)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            self._by_stem[stem_of(path)].append(path)

    def short(self, path: str) -> str:
        """Return a path relative to the capture's folder."""
        return path.removeprefix(self._root)

    def exactly(self, name: str) -> str:
        """Return where the image of a name is; "" where there's none of that name."""
        return next((path for path in self._candidates(name) if path in self._there), "")

    def by_stem(self, name: str) -> str:
        """Return the only image of the name with any ending; "" where there's none.

        Raises:
            InputError: where there are several.
        """
        for candidate in self._candidates(name):
            found = self._by_stem.get(stem_of(candidate), [])
            if len(found) > 1:
                raise InputError(
                    f"{self._files.at(candidate)}: doesn't exist, but {len(found)} images that "
                    f"could be meant, {self.short(found[0])} and {self.short(found[1])}; remove "
                    "all but one"
                )
            if found:
                return found[0]
        return ""

    def find(self, name: str) -> str:
        """Return the image of a name, whatever its ending; "" where there's none."""
        return self.exactly(name) or self.by_stem(name)

    def match(self, names: Iterable[str]) -> Matches:
        """Find the images of labels; one image has one label.

        Raises:
            InputError: where several images could be meant, or two labels name the same one.
        """
        result, left = Matches(), []
        owners: dict[str, str] = {}
        for name in names:
            path = self.exactly(name)
            if path in owners:
                raise InputError(
                    f"{self._files.at(path)}: two labels name this image, {owners[path]} and "
                    f"{name}; leave one out"
                )
            if path:
                result.paths[name], result.labels[name] = path, name
                owners[path] = name
            else:
                left.append(name)
        taken = set(owners)
        for name in left:
            path = self.by_stem(name)
            if not path or path in taken:
                result.lost.append(name)
                continue
            taken.add(path)
            short = str(PurePosixPath(name).with_name(PurePosixPath(path).name))
            result.paths[short], result.labels[short] = path, name
            result.renamed.append(name)
        self._match_elsewhere(result, taken)
        return result

    def _match_elsewhere(self, result: Matches, taken: set[str]) -> None:
        """Find images that were copied out of the folder that their labels name.

        Only where one image and one label have a name without its folders.
        """
        left: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            if path not in taken:
                left[_base(path)].append(path)
        wanted: dict[str, list[str]] = defaultdict(list)
        for name in result.lost:
            if _base(name) in left:
                wanted[_base(name)].append(name)
        for base, names in wanted.items():
            if len(names) == len(left[base]) == 1:
                (name,), (path,) = names, left[base]
                short = self.short(path)
                result.paths[short], result.labels[short] = path, name
                result.moved.append(name)
        found = set(result.moved)
        result.lost[:] = [name for name in result.lost if name not in found]

    def _candidates(self, name: str) -> tuple[str, str]:
        return f"{self._root}{name}", f"{self._root}{IMAGES}/{name}"


def is_image(name: str, root: str) -> bool:
    """Whether a file below a folder is an image of the capture there."""
    if not name.startswith(root):
        return False
    short = name.removeprefix(root)
    return _suffix(name) in PICTURES and not short.startswith((f"{MASKS}/", f"{DEPTH}/"))


def _suffix(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""


def _base(path: str) -> str:
    return PurePosixPath(stem_of(path)).name


def stem_of(path: str) -> str:
    """A path without the ending of a picture; other endings belong to the name."""
    suffix = _suffix(path)
    return path[: -len(suffix)] if suffix in PICTURES else path
