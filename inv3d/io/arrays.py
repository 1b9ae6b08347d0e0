"""Arrays of numbers in the files of other projects: .npz, .npy and .pt, read as data."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.errors import InputError, WeightsError, first_line, plain_text
from inv3d.core.weights.archive import is_torch_save, mapped, open_archive
from inv3d.core.weights.forms import describe_other, read_start
from inv3d.core.weights.numpyarrays import ARRAYS, array_of, is_array
from inv3d.core.weights.torchfile import StoredTensor, read_pickled, refusal
from inv3d.core.weights.unpickle import Refused

SUFFIXES = (".npz", ".npy", ".pt")
# how numpy.savez calls an array that it was given no name for
_UNNAMED = "arr_0"
_MOST_NUMBERS = 1 << 24
_REMEDY = "write the numbers alone, with numpy.savez or as tensors with torch.save"


def read_arrays(
    path: Path, wanted: Sequence[str], what: str = "latents"
) -> tuple[dict[str, Tensor], list[str]]:
    """Read arrays by name, one without a name as ""; what the file is, is told by its contents.

    Args:
        path: of the file.
        wanted: names of the arrays that are read, where they're there; "" among them stands for the
            one array of an .npy or .pt file.
        what: is looked for, for messages.

    Returns:
        Single-precision arrays by name, and the names of all that the file holds.

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
            return {"": _read_array(file, path)}, [""]
    if start.startswith(b"PK\x03\x04"):
        return _read_archive(path, wanted)
    if start[:1] == b"\x80":
        return _read_torch(path, wanted)
    raise InputError(
        f"{path}: holds no {what} but {describe_other(start)}; expected {', '.join(SUFFIXES)}"
    )


def _read_archive(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Read an archive of NumPy arrays, or one of torch.save."""
    try:
        with path.open("rb") as file, mapped(file) as data, open_archive(data) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if is_torch_save(list(names)):
                return _read_torch(path, wanted)
            if list(names) == [_UNNAMED] and "" in wanted:
                return {"": _read_member(archive, names[_UNNAMED], path)}, [""]
            found = {
                name: _read_member(archive, names[name], path) for name in wanted if name in names
            }
    except Refused as error:
        raise WeightsError(f"{path}: {error}; write it again") from None
    return found, list(names)


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


def _read_torch(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Tensor], list[str]]:
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
    return found, list(map(str, tree))
