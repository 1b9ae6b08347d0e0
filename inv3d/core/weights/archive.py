"""Opening zip archives of others: from a buffer, with a directory of limited length."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO

from inv3d.core.errors import plain_text
from inv3d.core.weights.unpickle import Refused

# 46 bytes and a name for each entry; a thousandth of what some machines have memory for
_LONGEST_DIRECTORY = 4 << 20
_BLOCK = 1 << 20
# in the container of torch.save: everything but the numbers
TREE = "data.pkl"
# of files in archives that may be what is looked for, nested archives among them
_ENDINGS = (".pkl", ".pt", ".pth", ".th", ".ckpt", ".bin", ".safetensors", ".tar", ".zip")
# what macOS packs beside every file
_LEFT_BEHIND = "__MACOSX/"
_MOST_SHOWN = 6


def mapped(file: BinaryIO) -> memoryview:
    """Return the bytes of a file that isn't empty; the system reads them when they are needed."""
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def open_archive(data: memoryview) -> zipfile.ZipFile:
    """Open an archive without reading its members.

    Raises:
        Refused: where it's damaged, or has more members than any weight file.
    """
    source = _Source(data, _LONGEST_DIRECTORY)
    try:
        archive = zipfile.ZipFile(source)
    except Refused:
        raise
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise Refused(
            f"is a zip archive that is damaged or cut short ({plain_text(str(error))})"
        ) from None
    source.longest_read = len(data)
    for entry in archive.infolist():  # older Windows tools pack so
        entry.filename = entry.filename.replace("\\", "/")
    archive.NameToInfo = {entry.filename: entry for entry in archive.infolist()}
    return archive


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytearray:
    """Read a member that is neither packed nor encrypted, as those of torch.save are.

    Raises:
        Refused: where it's another one, or damaged.
    """
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise Refused("is packed or encrypted, which files of torch.save aren't")
    if entry.file_size != entry.compress_size or entry.file_size > _length(archive):
        raise Refused(f"is damaged: it says that {entry.file_size} bytes of it are one member")
    data = bytearray(entry.file_size)
    try:
        with archive.open(entry) as member:
            for start in range(0, len(data), _BLOCK):
                data[start : start + _BLOCK] = member.read(_BLOCK)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise Refused(f"is damaged or cut short ({plain_text(str(error))})") from None
    if len(data) != entry.file_size:
        raise Refused("is cut short")
    return data


def is_torch_save(names: Sequence[str]) -> bool:
    """Whether members of these names are those of a file that torch.save wrote."""
    return any(name.rpartition("/")[2] == TREE for name in names)


def other_archive(names: Sequence[str]) -> Refused:
    """Return the error for an archive that torch.save didn't write."""
    if names and all(name.endswith(".npy") for name in names):
        return Refused("is an archive of NumPy arrays, no network")
    names = [name for name in names if not name.startswith(_LEFT_BEHIND)]
    weights = weight_files(names)
    wanted = listed(weights) if weights else "the weight file"
    return Refused(
        f"is a zip archive of other files ({listed(names)}), not one of torch.save",
        f"unpack it and give {wanted}",
    )


def weight_files(names: Sequence[str]) -> list[str]:
    """Return those of an archive's members that may be weight files, by their endings."""
    return [name for name in names if name.lower().endswith(_ENDINGS)]


def listed(names: Sequence[Any]) -> str:
    """Return some names of a file as they may stand in a message."""
    more = ", ..." if len(names) > _MOST_SHOWN else ""
    return ", ".join(plain_text(str(name)) for name in names[:_MOST_SHOWN]) + more or "nothing"


def _length(archive: zipfile.ZipFile) -> int:
    source = archive.fp
    assert isinstance(source, _Source)
    return len(source.data)


class _Source(io.RawIOBase):
    """A buffer as a file that can be read and searched, without a copy.

    Attributes:
        longest_read: bytes that may be asked for at once; `zipfile` reads the directory, which it
            then makes an object of each entry of, in one piece.
    """

    def __init__(self, data: memoryview, longest_read: int) -> None:
        self.data = data
        self.longest_read = longest_read
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: len(self.data)}[whence]
        if start + offset < 0:
            raise ValueError("a position before the start")
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, size: int | None = -1, /) -> bytes:
        rest = max(len(self.data) - self.position, 0)
        size = rest if size is None or size < 0 else min(size, rest)
        if size > self.longest_read:
            raise Refused("is a zip archive with more members than any weight file has")
        part = bytes(self.data[self.position : self.position + size])
        self.position += len(part)
        return part

    def readinto(self, buffer: Any) -> int:
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)
