"""Plain values in files of others: options and numbers, and the names that they come with."""

from __future__ import annotations

import posixpath
import struct
from typing import Any

from inv3d.core.errors import plain_text
from inv3d.core.weights.unpickle import Instance, Maker, Names, Refused

MOST_VALUES = 5_000
_DEEPEST = 32
NAMESPACE = "Namespace"
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
_NUMBERS = {
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b",
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?",
}  # fmt: skip


def plain(value: Any, left: list[int], depth: int = 0) -> Any:
    """Return a copy of plain values, None for all else.

    Args:
        value: of a file.
        left: one number, of values that may still be copied; it's counted down.
        depth: that this value lies at.

    Raises:
        Refused: where there are more.
    """
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        raise Refused("has more settings than any network does")
    if isinstance(value, Instance) and value.kind == NAMESPACE:
        value = value.state
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [plain(item, left, depth + 1) for item in value]
    if isinstance(value, dict):
        return {plain_text(str(name)): plain(item, left, depth + 1) for name, item in value.items()}
    return None


def instance(kind: str) -> Maker:
    """Return what stands for a class whose objects are stored with their state only."""

    def make(arguments: tuple[Any, ...]) -> Instance:
        if arguments:
            raise Refused(f"calls {kind}, which is only stored with its state")
        return Instance(kind.rpartition(".")[2])

    return make


def _dtype(arguments: tuple[Any, ...]) -> Instance:
    match arguments:
        case (str() as code, bool(), bool()) if code in _NUMBERS:
            return Instance(code)
        case (str() as code, *_):
            raise Refused(f"has NumPy values of the type {code[:8]!r}; only numbers are taken")
    raise Refused("is damaged: a NumPy type isn't described as NumPy does it")


def _scalar(arguments: tuple[Any, ...]) -> float | int | bool:
    match arguments:
        case (Instance(kind=kind, state=tuple() as state), bytes() as data) if kind in _NUMBERS:
            order, form = state[1:2], _NUMBERS[kind]
            if order in (("<",), ("|",)) and len(data) == struct.calcsize(f"<{form}"):
                number: float | int | bool = struct.unpack(f"<{form}", data)[0]
                return number
    raise Refused("has a NumPy value that isn't a number")


def _device(arguments: tuple[Any, ...]) -> str:
    match arguments:
        case (str() as kind,):
            return kind
        case (str() as kind, int() as index):
            return f"{kind}:{index}"
    raise Refused("is damaged: a device isn't described as torch does it")


def _path(arguments: tuple[Any, ...]) -> str:
    if all(isinstance(part, str) for part in arguments):
        return posixpath.join("", *arguments)
    raise Refused("is damaged: a path isn't one of texts")


def _size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    match arguments:
        case (tuple() as sizes,) if all(isinstance(size, int) for size in sizes):
            return sizes
    raise Refused("is damaged: a size isn't one of whole numbers")


OPTIONS: Names = {
    f"argparse.{NAMESPACE}": instance(f"argparse.{NAMESPACE}"),
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "torch.Size": _size,
    "torch.device": _device,
    **{f"{module}.{name}": _path for module in ("pathlib", "pathlib._local") for name in _PATHS},
}
