"""A capture's files, in a folder or a zip, read one at a time and never extracted."""

from __future__ import annotations

import lzma
import os
import re
import struct
import unicodedata
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inv3d.core.errors import InputError
from inv3d.core.registry.hooks import Observers, hooks
from inv3d.core.weights.forms import UNKNOWN, describe
from inv3d.io.formats import PICTURES, VIDEOS

_UTF8_NAMES = 0x800
# a member that unpacks to more is no picture
_LARGEST_MEMBER = 1 << 30
# a damaged zip shows itself in any of these ways; a RuntimeError is also one of another method
_DAMAGED = (
    *(OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, KeyError),
)


class Files(ABC):
    """Files by relative name, with forward slashes, letters with accents composed (NFC).

    Attributes:
        source: the path given by the user, for messages.
        names: of all files, hidden ones left out.
    """

    def __init__(self, source: Path, members: Mapping[str, Any]) -> None:
        """Name the files.

        Args:
            source: the path given by the user.
            members: name as it's written there -> what `_read` takes.

        Raises:
            InputError: where two names differ in how they're written only.
        """
        self.source = source
        self._members: dict[str, Any] = {}
        for written, member in members.items():
            name = plain_name(written)
            if _hidden(name):
                continue
            if name in self._members:
                raise InputError(f"{self.at(name)}: there are two files of this name; remove one")
            self._members[name] = member
        self.names = frozenset(self._members)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            InputError: where it can't be read.
        """
        try:
            return self._read(self._members[name])
        except _DAMAGED as error:
            if "encrypted" in str(error):
                raise InputError(
                    f"{self.at(name)}: can't be read (encrypted); pack it without a password"
                ) from None
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.at(name)}: can't be read ({reason}); write it again") from None

    @abstractmethod
    def _read(self, member: Any) -> bytes: ...

    def at(self, name: str) -> str:
        """Return how a message names a file: in one line, whatever its name is."""
        return "".join(c if c.isprintable() else "?" for c in str(self.source / name))


class FolderFiles(Files):
    """The files of a folder, subfolders included."""

    def __init__(self, source: Path) -> None:
        def refuse(error: OSError) -> None:
            raise InputError(f"--input {source}: can't be read ({error.strerror})") from None

        found = {}
        # the true places on the way to a folder: a link back to one of them would never end
        ways = {str(source): {os.path.realpath(source)}}
        for folder, below, names in os.walk(source, onerror=refuse, followlinks=True):
            way = ways.pop(folder)
            inner = {name: os.path.join(folder, name) for name in below if not _hidden(name)}
            real = {name: os.path.realpath(path) for name, path in inner.items()}
            below[:] = [name for name in inner if real[name] not in way]
            ways |= {inner[name]: way | {real[name]} for name in below}
            within = Path(folder).relative_to(source).as_posix()
            found.update({f"{within}/{name}": os.path.join(folder, name) for name in names})
        super().__init__(source, found)

    def _read(self, member: str) -> bytes:
        path = Path(member)
        if path.exists() and not path.is_file():
            raise OSError("not a regular file")
        return path.read_bytes()


class ZipFiles(Files):
    """The members of a zip."""

    def __init__(self, source: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise InputError(
                f"--input {source}: neither a folder nor a readable zip{_instead(source, error)}; "
                "give a folder or zip with images and their dataset.json"
            ) from None
        members: dict[str, zipfile.ZipInfo] = {}
        for info in self.archive.infolist():
            name = _member_name(info)
            if name in members and members[name].CRC != info.CRC:
                raise InputError(
                    f"{source / name}: there are two files of this name in it; remove one"
                )
            if not name.endswith("/"):
                members[name] = info
        for name in members:
            check_inside(name, str(source))
        super().__init__(source, members)

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        if member.file_size > _LARGEST_MEMBER:
            raise OSError(f"unpacks to {member.file_size >> 20} MiB, more than any picture has")
        return self.archive.read(member)


class PictureFile(Files):
    """A single picture as a capture of its own."""

    def __init__(self, source: Path) -> None:
        super().__init__(source, {source.name: source})

    def _read(self, member: Path) -> bytes:
        return member.read_bytes()

    def at(self, name: str) -> str:
        """Return how a message names a file."""
        return str(self.source if plain_name(self.source.name) == name else self.source / name)


class ReadFiles(Files):
    """What a plugin makes of a capture of another format."""

    def __init__(self, source: Path, members: Mapping[str, Any]) -> None:
        for name in members:
            check_inside(str(name), f"{source}, as a plugin reads it")
        super().__init__(source, members)

    def _read(self, member: Any) -> bytes:
        content = member() if callable(member) else member
        if not isinstance(content, bytes):
            raise OSError(f"a plugin made a {type(content).__name__} of it, expected bytes")
        return content


def open_files(path: Path) -> Files:
    """Open a folder, a zip, a single picture, or what a plugin reads.

    Raises:
        InputError: where it doesn't exist, is none of them, or a member's name points outside.
    """
    try:
        path.stat()
    except (OSError, ValueError):
        raise InputError(
            f"--input {path}: no such folder or zip; leave --input out for the sample capture"
        ) from None
    for members in Observers(hooks(), warnings.warn).call("inv3d_read_capture", path=path):
        return ReadFiles(path, members)
    if path.is_dir():
        return FolderFiles(path)
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return PictureFile(path)
    if suffix in VIDEOS:
        raise InputError(
            f"--input {path}: a video; make a capture of it (3dinv prepare {path.name} -o FOLDER)"
        )
    if suffix in (".json", ".npy", ".bin", ".txt"):
        raise InputError(f"--input {path}: a single file; give the folder with its images")
    return ZipFiles(path)


def plain_name(name: str) -> str:
    """Return a name as it's compared: forward slashes, composed letters, no "./" in it."""
    first, *rest = unicodedata.normalize("NFC", name.replace("\\", "/")).split("/")
    start = "/" if rest and not first else ""
    return start + "/".join(part for part in (first, *rest) if part not in ("", "."))


def check_inside(name: str, where: str) -> None:
    """Refuse a name that points outside its folder.

    Raises:
        InputError: naming it.
    """
    plain = plain_name(name)
    if not plain or ".." in plain.split("/") or re.match(r"/|[A-Za-z]:", plain):
        raise InputError(
            f"{where}: the name {name!r} points outside the capture; "
            "use names relative to its folder"
        )


def _member_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a zip's member with forward slashes.

    Packers that don't say that their names are UTF-8 mostly write UTF-8 all the same.
    """
    name = info.filename
    if not info.flag_bits & _UTF8_NAMES:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name.replace("\\", "/")


def _instead(path: Path, error: Exception) -> str:
    """Say what a file is that isn't a zip, or else why it can't be read."""
    try:
        with path.open("rb") as file:
            what = describe(file.read(512))
    except OSError:
        what = UNKNOWN
    if what.startswith("a zip"):
        return f" ({error}): its end is missing, or it's damaged; copy it again"
    return f" ({error})" if what == UNKNOWN else f" but {what}"


def _hidden(name: str) -> bool:
    """Whether a name belongs to what operating systems leave behind."""
    parts = name.split("/")
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts frame2 before frame10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(p), p) if p.isascii() and p.isdigit() else (1, 0, p) for p in parts)
