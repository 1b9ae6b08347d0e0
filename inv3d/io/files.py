"""A capture's files, in a folder or a zip, read one at a time and never extracted."""

from __future__ import annotations

import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath

from inv3d.core.errors import InputError


class Files(ABC):
    """Files by relative name, with forward slashes.

    Attributes:
        source: the path given by the user, for messages.
        names: of all files, hidden ones left out.
    """

    def __init__(self, source: Path, names: list[str]) -> None:
        self.source = source
        self.names = frozenset(name for name in names if not _hidden(name))

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            InputError: where it can't be read.
        """
        try:
            return self._read(name)
        # a damaged zip shows itself in any of these ways
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.at(name)}: can't be read ({reason}); write it again") from None

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    def at(self, name: str) -> str:
        """Return how a message names a file."""
        return str(self.source / name)


class FolderFiles(Files):
    """The files of a folder, subfolders included."""

    def __init__(self, source: Path) -> None:
        try:
            files = [p for p in source.rglob("*") if p.is_file()]
        except OSError as error:
            raise InputError(f"--input {source}: can't be read ({error.strerror})") from None
        super().__init__(source, [p.relative_to(source).as_posix() for p in files])

    def _read(self, name: str) -> bytes:
        return (self.source / name).read_bytes()


class ZipFiles(Files):
    """The members of a zip."""

    def __init__(self, source: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise InputError(
                f"--input {source}: neither a folder nor a readable zip ({error}); "
                "give a folder or zip with images and their dataset.json"
            ) from None
        members = [info.filename for info in self.archive.infolist() if not info.is_dir()]
        for name in members:
            check_inside(name, str(source))
        super().__init__(source, members)

    def _read(self, name: str) -> bytes:
        return self.archive.read(name)


def open_files(path: Path) -> Files:
    """Open a folder or zip.

    Raises:
        InputError: where it doesn't exist, is no zip, or a member's name points outside.
    """
    if not path.exists():
        raise InputError(
            f"--input {path}: no such folder or zip; leave --input out for the sample capture"
        )
    return FolderFiles(path) if path.is_dir() else ZipFiles(path)


def check_inside(name: str, where: str) -> None:
    """Refuse a name that points outside its folder.

    Raises:
        InputError: naming it.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or re.match(r"[A-Za-z]:", parts[0]):
        raise InputError(
            f"{where}: the name {name!r} points outside the capture; "
            "use names relative to its folder"
        )


def _hidden(name: str) -> bool:
    """Whether a name belongs to what operating systems leave behind."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX"


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts frame2 before frame10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(p), p) if p.isascii() and p.isdigit() else (1, 0, p) for p in parts)
