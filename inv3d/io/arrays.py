"""Arrays of numbers in the files of other projects: .npz, .npy and .pt, read as data."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.errors import InputError, WeightsError, first_line, plain_text
from inv3d.core.weights.archive import is_torch_save, mapped, open_archive
from inv3d.core.weights.forms import describe, read_start
from inv3d.core.weights.numpyarrays import ARRAYS, array_of, is_array
from inv3d.core.weights.torchfile import StoredTensor, kind_of, read_pickled, refusal
from inv3d.core.weights.unpickle import Refused

SUFFIXES = (".npz", ".npy", ".pt")
# how numpy.savez calls an array that it was given no name for
_UNNAMED = "arr_0"
_ARRAY = "array"
_MOST_NUMBERS = 1 << 24
_REMEDY = "write the numbers alone, with numpy.savez or as tensors with torch.save"
# levels of a file that networks are looked for in: itself, what it holds, and the dicts in that
_LEVELS = 3


@dataclass(frozen=True)
class Arrays:
    """Arrays of a file, and what else there is.

    Attributes:
        found: single-precision arrays by name, of those that were wanted.
        kinds: all that the file holds by name, with the word for what it is.
        alone: whether nothing in it looks like a network, or like files in an archive.
    """

    found: dict[str, Tensor]
    kinds: Mapping[str, str]
    alone: bool = True


def read_arrays(path: Path, wanted: Sequence[str], what: str = "latents") -> Arrays:
    """Read arrays by name, one without a name as ""; what the file is, is told by its contents.

    Args:
        path: of the file.
        wanted: names of the arrays that are read, where they're there; "" among them stands for the
            one array of an .npy or .pt file.
        what: is looked for, for messages.

    Raises:
        InputError: where there's no such file, or it's of another kind.
        WeightsError: where it's damaged, or torch.save wrote it and it holds anything but data.
    """
    try:
        start = read_start(path, f"file of {what}")
    except WeightsError as error:
        raise InputError(str(error)) from None
    if start.startswith(np.lib.format.MAGIC_PREFIX):
        with path.open("rb") as file:
            return Arrays({"": _read_array(file, path)}, {"": _ARRAY})
    if start.startswith(b"PK\x03\x04"):
        return _read_archive(path, wanted)
    if start[:1] == b"\x80":
        return _read_torch(path, wanted)
    raise InputError(
        f"{path}: holds no {what} but {describe(start)}; expected {', '.join(SUFFIXES)}"
    )


def wrote_numpy(path: Path) -> bool:
    """Whether a file is an array of NumPy or an archive of them, whatever its name says."""
    try:
        kinds = read_arrays(path, ()).kinds
    except (InputError, WeightsError):
        return False
    return set(kinds.values()) == {_ARRAY}


def _read_archive(path: Path, wanted: Sequence[str]) -> Arrays:
    """Read an archive of NumPy arrays, or one of torch.save."""
    try:
        with path.open("rb") as file, mapped(file) as data, open_archive(data) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if is_torch_save(list(names)):
                return _read_torch(path, wanted)
            if list(names) == [_UNNAMED] and "" in wanted:
                return Arrays({"": _read_member(archive, names[_UNNAMED], path)}, {"": _ARRAY})
            found = {
                name: _read_member(archive, names[name], path) for name in wanted if name in names
            }
    except Refused as error:
        raise WeightsError(f"{path}: {error}; write it again") from None
    kinds = {name: _ARRAY if member != name else "file" for name, member in names.items()}
    return Arrays(found, kinds, not any("." in name for name in names))


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> Tensor:
    try:
        member = archive.open(name)
    # encrypted, packed in an unknown way, or damaged
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile, ValueError, EOFError) as error:
        reason = plain_text(str(error))
        raise WeightsError(f"{path}: not a readable .npz file ({reason}); write it again") from None
    with member:
        return _read_array(member, path)


def _read_array(file: Any, path: Path) -> Tensor:
    """Read an array of numbers; its size is checked before anything is allocated."""
    try:
        head = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0}
        shape, fortran, dtype = reader.get(head, np.lib.format.read_array_header_2_0)(file)
        count = int(np.prod(shape, dtype=object)) if shape else 1
        if dtype.hasobject:
            raise ValueError("Python objects, such as a dict; numpy.savez writes arrays by name")
        if dtype.kind != "f":
            raise ValueError(f"values of the type {dtype}, expected floating-point numbers")
        if not 0 <= count <= _MOST_NUMBERS:
            raise ValueError(f"{count} values, expected some thousand")
        data = file.read(count * dtype.itemsize)
        if len(data) != count * dtype.itemsize:
            raise ValueError("it's cut short")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    except Exception as error:  # NumPy reads the header as Python's literals, with all their errors
        reason = plain_text(first_line(error)) or type(error).__name__
        raise WeightsError(f"{path}: not a readable array ({reason}); write it again") from None


def _read_torch(path: Path, wanted: Sequence[str]) -> Arrays:
    """Read tensors and NumPy arrays that torch.save or pickle wrote."""
    pickled = read_pickled(path, ARRAYS, _REMEDY)
    tree = pickled.tree if isinstance(pickled.tree, dict) else {"": pickled.tree}
    found: dict[str, Tensor] = {}
    try:
        for name in wanted:
            value = tree.get(name)
            if isinstance(value, StoredTensor):
                found[name] = pickled.tensor(value)
            elif is_array(value):
                found[name] = array_of(value)
    except Refused as error:
        raise refusal(path, error, _REMEDY) from None
    kinds = {str(name): kind_of(value) for name, value in tree.items()}
    return Arrays(found, kinds, not _has_network(tree))


def _has_network(tree: Mapping[Any, Any]) -> bool:
    """Whether a dict is a state dict, or has one where those of networks are looked for."""
    level = {id(tree): tree}  # a file may name one thing countless times
    for _ in range(_LEVELS):
        if any(map(_is_state, level.values())):
            return True
        level = {id(value): value for held in level.values() for value in held.values()}
        level = {key: value for key, value in level.items() if isinstance(value, dict)}
    return False


def _is_state(held: Mapping[Any, Any]) -> bool:
    return any("." in str(name) and isinstance(t, StoredTensor) for name, t in held.items())
