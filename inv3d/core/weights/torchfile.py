"""Reading what torch pickles, as data: tensors in plain pickles and in torch.save's containers.

Sizes are checked against the bytes that are there before anything is allocated, and no more tensors
are made than the file has bytes.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from inv3d.core.errors import WeightsError, plain_text
from inv3d.core.weights.unpickle import Budget, Name, Names, Refused, Window, load

Form = Literal["safetensors", "zip", "legacy", "pickle"]

# the pickled magic number at the start of files that torch.save wrote before 1.6
_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024de9032e")
_TAR = slice(257, 262)
_LONGEST_HEADER = 100 << 20
_MOST_DIMENSIONS = 16
MOST_TENSORS = 20_000
_TYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
# what stands at the start of files that are often taken for networks
_OTHERS = (
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run 'git lfs pull'"),
    (b"<", "a web page, not the file itself; the download needs a login or another link"),
    (b"{", "JSON text"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x89HDF", "an HDF5 file"),
)


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Storage:
    """Numbers in a file.

    Attributes:
        dtype: their type.
        count: how many.
        read: gives them, [count].
    """

    dtype: torch.dtype
    count: int
    read: Callable[[], Tensor]


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class StoredTensor:
    """A tensor in a file; shape and strides were checked against its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False, repr=False)
class Pickled:
    """The contents of a file, and a way to its tensors.

    Attributes:
        form: of the file.
        tree: plain data with `StoredTensor`s and `Instance`s.
        left: bytes that may still be taken for tensors, at first twice the size of the file: once
            for the storages, once for tensors that are parts of them.
    """

    form: Form
    tree: Any
    left: int
    _read: dict[int, Tensor] = field(default_factory=dict)
    _tensors: int = 0

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Return a tensor with memory of its own.

        Raises:
            Refused: where its bytes aren't what the file said, or more is asked for than there is.
        """
        self._tensors += 1
        if self._tensors > MOST_TENSORS:
            raise Refused(f"has more than {MOST_TENSORS} tensors")
        storage = stored.storage
        numbers = self._read.get(id(storage))
        if numbers is None:
            self._take(storage.count * storage.dtype.itemsize)
            numbers = self._read[id(storage)] = storage.read()
            if math.prod(stored.shape) == storage.count:
                return torch.as_strided(numbers, stored.shape, stored.stride, stored.offset)
        self._take(math.prod(stored.shape) * storage.dtype.itemsize)
        return torch.as_strided(numbers, stored.shape, stored.stride, stored.offset).clone()

    def _take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Refused("has more numbers in tensors than bytes")


def form_of(path: Path) -> Form:
    """Tell the form of a weight file by its contents.

    Raises:
        WeightsError: where it's missing, or of no form that weights have.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the path of a weight file")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror})") from error
    found = "something else" if start else "an empty file"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith(_LEGACY):
        return "legacy"
    if start[:1] == b"\x80":
        return "pickle"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < _LONGEST_HEADER:
        return "safetensors"
    if start[_TAR] == b"ustar":
        found = "a tar archive, also where torch.save made it (before 1.0); save it again"
    for signature, name in _OTHERS:
        if start.startswith(signature):
            found = name
    raise WeightsError(
        f"{path}: not a weight file but {found}; expected .safetensors, a network pickle (.pkl), "
        "or what torch.save writes (.pt, .pth)"
    )


def read_pickled(path: Path, names: Names) -> Pickled:
    """Read a network pickle, or a file that torch.save wrote, without running anything in it.

    Args:
        path: the file.
        names: names that are taken besides those of tensors, see `unpickle.load`.

    Raises:
        WeightsError: naming what the file holds that isn't taken, or where it's damaged.
    """
    form = form_of(path)
    names = {**TENSORS, **names}
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if form == "zip":
            tree = _read_zip(data, names)
        elif form == "legacy":
            tree = _read_legacy(data, names, Budget())
        else:
            budget = Budget()
            nested = {"torch.storage._load_from_bytes": lambda a: _storage_in_bytes(a, budget)}
            tree = load(Window(data), {**names, **nested}, budget=budget)
        return Pickled(form, tree, 2 * len(data))
    except Refused as error:
        raise refusal(path, error) from None
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror})") from error


def refusal(path: Path, reason: object) -> WeightsError:
    """Return the error for a file that isn't taken."""
    return WeightsError(
        f"{path}: {reason}; nothing in it was run: fetch it again from where it is published, or "
        "give another file"
    )


# --- tensors


def _rebuild_tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    match arguments:
        case (Storage() as storage, int() as offset, tuple() as shape, tuple() as stride, *rest):
            pass
        case _:
            raise Refused("is damaged: a tensor isn't described as torch does it")
    numbers = (offset, *shape, *stride)
    if len(shape) != len(stride) or len(shape) > _MOST_DIMENSIONS or len(rest) > 3:
        raise Refused("is damaged: a tensor isn't described as torch does it")
    if not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise Refused("has a tensor whose sizes aren't whole numbers")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if count > storage.count or (count and last >= storage.count) or offset > storage.count:
        raise Refused(
            f"has a tensor of shape {shape} at {offset} in a storage of {storage.count} numbers"
        )
    return StoredTensor(storage, offset, shape, stride)


def _rebuild_parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    match arguments:
        case (StoredTensor() as tensor, bool(), dict(), *_):
            return tensor
    raise Refused("is damaged: a parameter isn't described as torch does it")


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments:
        raise Refused("is damaged: an OrderedDict is made of something")
    return {}


def _set(arguments: tuple[Any, ...]) -> set[str]:
    match arguments:
        case (list() as items,) if all(isinstance(item, str) for item in items):
            return set(items)
    raise Refused("is damaged: a set isn't one of texts")


def _latin(arguments: tuple[Any, ...]) -> bytes:
    """Bytes, as pickles of protocol 2 write them."""
    match arguments:
        case (str() as text, "latin1"):
            return text.encode("latin1", "replace")
    raise Refused("uses an encoding")


def never(arguments: tuple[Any, ...]) -> Any:
    """Stand for a name that may occur but mustn't be called."""
    raise Refused("calls a name that only tells a type")


TENSORS: Names = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "__builtin__.set": _set,
    "builtins.set": _set,
    "_codecs.encode": _latin,
    **{f"torch.{kind}Storage": never for kind in _TYPES},
}


# --- storages


def _described(persistent: tuple[Any, ...]) -> tuple[torch.dtype, str, int]:
    """Return type, key and count of what a persistent id describes."""
    match persistent:
        case ("storage", Name() as kind, str() as key, str(), int() as count, *rest):
            dtype = _TYPES.get(kind.text.removeprefix("torch.").removesuffix("Storage"))
            if dtype is not None and count >= 0 and rest in ([], [None]):
                return dtype, key, count
    raise Refused("is damaged: a storage isn't described as torch does it")


def _numbers(data: memoryview | bytes, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _read_zip(data: memoryview, names: Names) -> Any:
    """Read the container that torch.save writes since 1.6."""
    try:
        archive = zipfile.ZipFile(_File(data))
        entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise Refused(f"is a zip archive that is damaged or cut short ({error})") from None
    pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        if any(name.endswith(".npy") for name in entries):
            raise Refused("is an archive of NumPy arrays, no network")
        raise Refused("is a zip archive, but not one of torch.save")
    root = pickles[0].removesuffix("data.pkl")
    code = [name for name in entries if name.startswith(f"{root}code/")]
    if code or f"{root}constants.pkl" in entries:
        raise Refused("is a TorchScript archive, which holds code")

    def contents(name: str) -> bytes:
        entry = entries.get(name)
        if entry is None:
            raise Refused(f"is damaged: it has no {plain_text(name.removeprefix(root))}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Refused("is packed or encrypted, which files of torch.save aren't")
        try:
            return archive.read(entry)
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
            raise Refused(f"is damaged or cut short ({error})") from None

    order = f"{root}byteorder"
    if order in entries and contents(order) != b"little":
        raise Refused("was written on a big-endian machine")

    seen: dict[str, Storage] = {}

    def storage(persistent: tuple[Any, ...]) -> Storage:
        dtype, key, count = _described(persistent)
        name = f"{root}data/{key}"
        have = entries[name].file_size if name in entries else 0
        if count * dtype.itemsize != have:
            raise Refused(f"has a storage of {count} numbers, but {have} bytes for it")
        if key not in seen:
            seen[key] = Storage(dtype, count, lambda: _numbers(contents(name), dtype))
        return seen[key]

    return load(Window(contents(pickles[0])), names, storage)


class _File(io.RawIOBase):
    """A buffer as a file that can be read and searched, without a copy."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
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

    def readinto(self, buffer: Any) -> int:
        part = self.data[self.position : self.position + len(buffer)]
        buffer[: len(part)] = part
        self.position += len(part)
        return len(part)


def _read_legacy(data: memoryview, names: Names, budget: Budget) -> Any:
    """Read the stream that torch.save wrote before 1.6: five pickles, then the numbers."""
    file = Window(data, len(_LEGACY))
    _check_machine(load(file, {}, budget=budget))
    storages: dict[str, tuple[torch.dtype, int, Storage]] = {}
    places: dict[str, memoryview] = {}

    def storage(persistent: tuple[Any, ...]) -> Storage | Name:
        match persistent:
            case ("module", Name() as name, _, _):  # a class with its source text
                return name
        dtype, key, count = _described(persistent)
        if count * dtype.itemsize > len(data):
            raise Refused(f"has a storage of {count} numbers in a stream of {len(data)} bytes")
        if key not in storages:
            made = Storage(dtype, count, lambda: _numbers(places[key], dtype))
            storages[key] = dtype, count, made
        known_dtype, known_count, made = storages[key]
        if (known_dtype, known_count) != (dtype, count):
            raise Refused("is damaged: it describes a storage in two ways")
        return made

    tree = load(file, names, storage, budget)
    keys = load(file, {}, budget=budget)
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not texts or sorted(keys) != sorted(storages):
        raise Refused("is damaged: its list of storages isn't that of its tensors")
    for key in keys:
        dtype, count, _ = storages[key]
        head = bytes(file.read(8))
        numbers = file.data[file.position : file.position + count * dtype.itemsize]
        file.position += len(numbers)
        if len(head) < 8 or len(numbers) < count * dtype.itemsize:
            raise Refused("is cut short: the numbers of its last tensors are missing")
        if int.from_bytes(head, "little") != count:
            raise Refused(f"has a storage of {count} numbers that is stored with another length")
        places[key] = numbers
    return tree


def _check_machine(facts: Any) -> None:
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise Refused("was written on a big-endian machine")


def _storage_in_bytes(arguments: tuple[Any, ...], budget: Budget) -> Storage:
    """A storage in a byte string of its own, as modules that aren't saved by torch.save have it."""
    match arguments:
        case (bytes() | memoryview() as data,):
            pass
        case _:
            raise Refused("is damaged: a storage isn't bytes")
    if bytes(data[: len(_LEGACY)]) != _LEGACY:
        raise Refused("has a storage that isn't in the form that torch pickles")
    stored = _read_legacy(memoryview(data), _TYPE_NAMES, budget)
    if not isinstance(stored, Storage):
        raise Refused("has a byte string that isn't a storage")
    return stored


_TYPE_NAMES: Names = {name: never for name in TENSORS if name.endswith("Storage")}
