"""NumPy's arrays in pickles of others, read as data."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from inv3d.core.weights.plain import OPTIONS
from inv3d.core.weights.unpickle import Instance, Name, Names, Refused, never

_ARRAY = "NumPy array"
_CLASS = "numpy.ndarray"
# up to what NumPy itself can have
_MOST_DIMENSIONS = 64


def is_array(value: Any) -> TypeGuard[Instance]:
    """Whether a value that was read stands for a NumPy array."""
    return isinstance(value, Instance) and value.kind == _ARRAY


def array_of(value: Instance) -> Tensor:
    """Return the floating-point numbers of a NumPy array, in single precision.

    Raises:
        Refused: where it has others, or isn't described as NumPy does it.
    """
    match value.state:
        case (int(), tuple() as shape, Instance(kind=code, state=tuple() as state), order, data):
            pass
        case _:
            raise Refused("is damaged: a NumPy array isn't described as NumPy does it")
    if not code.startswith("f"):
        raise Refused(f"has a NumPy array of the type {code!r}, expected floating-point numbers")
    sizes = all(type(n) is int and n >= 0 for n in shape) and len(shape) <= _MOST_DIMENSIONS
    known = isinstance(data, bytes | bytearray | memoryview) and state[1:2] in (("<",), (">",))
    if not (sizes and known) or len(data) != math.prod(shape) * int(code[1:]):
        raise Refused("is damaged: a NumPy array isn't described as NumPy does it")
    numbers = np.frombuffer(data, np.dtype(f"{state[1]}{code}"))
    array = numbers.reshape(shape, order="F" if order is True else "C")
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _empty(arguments: tuple[Any, ...]) -> Instance:
    """An array before it has a state."""
    match arguments:
        case (Name(text="numpy.ndarray"), *_):
            return Instance(_ARRAY)
    raise Refused("is damaged: a NumPy array isn't described as NumPy does it")


def _of_buffer(arguments: tuple[Any, ...]) -> Instance:
    """An array as pickles of protocol 5 have it."""
    match arguments:
        case (data, Instance() as kind, tuple() as shape, str() as order):
            return Instance(_ARRAY, (1, shape, kind, order == "F", data))
    raise Refused("is damaged: a NumPy array isn't described as NumPy does it")


ARRAYS: Names = {
    **OPTIONS,
    _CLASS: never,
    **{f"numpy.{core}.multiarray._reconstruct": _empty for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _of_buffer for core in ("core", "_core")},
}
