"""Reading what torch pickles, as data: tensors in plain pickles and in torch.save's containers.

Sizes are checked against the bytes that are there before anything is allocated, and no more tensors
are made than the file has bytes.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.errors import WeightsError, plain_text
from inv3d.core.weights.archive import TREE, mapped, open_archive, other_archive, read_member
from inv3d.core.weights.forms import LEGACY, Form, form_of
from inv3d.core.weights.tensors import MOST_TENSORS
from inv3d.core.weights.unpickle import (
    OTHER_FILE,
    Budget,
    Instance,
    Name,
    Names,
    Refused,
    Window,
    load,
    never,
)

_MOST_DIMENSIONS = 16
_MOST_NUMBERS = 2**62
# bytes of tensors that have some of their numbers several times, as Tensor.expand makes them
_MOST_REPEATED = 1 << 26
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

    @property
    def repeats(self) -> bool:
        """Whether it has some of its numbers several times, as Tensor.expand makes it."""
        return _without_repeats(self.shape, self.stride) < math.prod(self.shape)


_KINDS: dict[type, str] = {
    StoredTensor: "tensor",
    Storage: "storage",
    Name: "class",
    str: "text",
    int: "number",
    float: "number",
    type(None): "None",
}


@dataclass(eq=False, repr=False)
class Pickled:
    """The contents of a file, and a way to its tensors.

    Attributes:
        form: of the file.
        tree: plain data with `StoredTensor`s and `Instance`s.
        left: bytes that may still be taken for tensors, at first twice the size of the file: once
            for the storages, once for tensors that are parts of them.
        left_repeating: bytes that may still be taken for tensors that repeat their numbers.
    """

    form: Form
    tree: Any
    left: int
    left_repeating: int = _MOST_REPEATED
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
            if math.prod(stored.shape) == storage.count and not stored.repeats:
                return torch.as_strided(numbers, stored.shape, stored.stride, stored.offset)
        size = math.prod(stored.shape) * storage.dtype.itemsize
        if stored.repeats:
            self._repeat(size)
        else:
            self._take(size)
        return torch.as_strided(numbers, stored.shape, stored.stride, stored.offset).clone()

    def _take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Refused("has more numbers in tensors than bytes")

    def _repeat(self, size: int) -> None:
        self.left_repeating -= size
        if self.left_repeating < 0:
            raise Refused(f"repeats more than {_MOST_REPEATED >> 20} MiB of its numbers in tensors")


def read_pickled(path: Path, names: Names, remedy: str = "") -> Pickled:
    """Read a network pickle, or a file that torch.save wrote, without running anything in it.

    Args:
        path: the file.
        names: names that are taken besides those of tensors, see `unpickle.load`.
        remedy: what to do where it holds something else; to give a network, unless given.

    Raises:
        WeightsError: naming what the file holds that isn't taken, or where it's damaged.
    """
    form = form_of(path)
    names = {**TENSORS, **names}
    try:
        with path.open("rb") as file:
            data = mapped(file)
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
        raise refusal(path, error, remedy) from None
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror})") from error


def refusal(path: Path, refused: Refused, other: str = "") -> WeightsError:
    """Return the error for a file that isn't taken.

    Args:
        path: the file.
        refused: why.
        other: what to do where it's another file than a network, unless `refused` knows better.
    """
    remedy = other if other and refused.remedy == OTHER_FILE else refused.remedy
    return WeightsError(f"{path}: {refused}; nothing in it was run: {remedy}")


def check_name(name: str) -> None:
    """Refuse a tensor's name that would do something to a terminal.

    Raises:
        Refused: showing what can be shown of it.
    """
    if plain_text(name) != name:
        raise Refused(f"has a tensor of the name {plain_text(name)}")


def kind_of(value: Any) -> str:
    """Return the word for what a file holds."""
    if isinstance(value, Instance):
        return f"{plain_text(value.kind)} object"
    return _KINDS.get(type(value)) or type(value).__name__


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
    if not all(type(n) is int and 0 <= n < _MOST_NUMBERS for n in numbers):
        raise Refused("has a tensor whose sizes aren't whole numbers")
    if math.prod(max(size, 1) for size in shape) >= _MOST_NUMBERS:
        raise Refused(f"has a tensor of shape {shape}, which is larger than any")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    there = _without_repeats(shape, stride) <= storage.count >= offset
    more = (count - storage.count) * storage.dtype.itemsize
    if not there or more > _MOST_REPEATED or (count and last >= storage.count):
        raise Refused(
            f"has a tensor of shape {shape} at {offset} in a storage of {storage.count} numbers"
        )
    return StoredTensor(storage, offset, shape, stride)


def _without_repeats(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Count the numbers of a tensor, those once that steps of 0 repeat."""
    return math.prod(min(n, 1) if step == 0 else n for n, step in zip(shape, stride, strict=True))


def _rebuild_parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    match arguments:
        case (StoredTensor() as tensor, bool(), dict(), *_):
            return tensor
    raise Refused("is damaged: a parameter isn't described as torch does it")


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    match arguments:
        case ():
            return {}
        case (list() as pairs,) if all(_is_pair(pair) for pair in pairs):  # as Python 2 wrote it
            return dict(pairs)
    raise Refused("is damaged: an OrderedDict is made of something else than names and values")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)


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


TENSORS: Names = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,  # before 0.4
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


def _numbers(data: memoryview | bytearray, dtype: torch.dtype) -> Tensor:
    """Return numbers whose memory is `data` itself where it's nobody else's."""
    if not data:
        return torch.empty(0, dtype=dtype)
    own = data if isinstance(data, bytearray) else bytearray(data)
    return torch.frombuffer(own, dtype=dtype)


def _read_zip(data: memoryview, names: Names) -> Any:
    """Read the container that torch.save writes since 1.6."""
    archive = open_archive(data)
    entries = {entry.filename: entry for entry in archive.infolist()}
    root = _root(entries)

    def contents(name: str) -> bytearray:
        if name not in entries:
            raise Refused(f"is damaged: it has no {plain_text(name.removeprefix(root))}")
        return read_member(archive, entries[name])

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

    return load(Window(contents(f"{root}{TREE}")), names, storage)


def _root(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    """Return what stands before every name in a file of torch.save.

    Raises:
        Refused: where the archive is another one.
    """
    pickles = [name for name in entries if name.rpartition("/")[2] == TREE]
    if len(pickles) != 1:
        raise other_archive(list(entries))
    root = pickles[0].removesuffix(TREE)
    code = [name for name in entries if name.startswith(f"{root}code/")]
    if code or f"{root}constants.pkl" in entries:
        raise Refused("is a TorchScript archive, which holds code")
    return root


def _read_legacy(data: memoryview, names: Names, budget: Budget) -> Any:
    """Read the stream that torch.save wrote before 1.6: five pickles, then the numbers."""
    file = Window(data, len(LEGACY))
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
    if bytes(data[: len(LEGACY)]) != LEGACY:
        raise Refused("has a storage that isn't in the form that torch pickles")
    stored = _read_legacy(memoryview(data), _TYPE_NAMES, budget)
    if not isinstance(stored, Storage):
        raise Refused("has a byte string that isn't a storage")
    return stored


_TYPE_NAMES: Names = {name: never for name in TENSORS if name.endswith("Storage")}
