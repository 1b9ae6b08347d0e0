"""Latents in the files of other projects: .npz, .npy and .pt."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.camera import LABEL_LENGTH, Camera
from inv3d.core.errors import InputError, WeightsError, first_line, plain_text
from inv3d.core.files import atomic_write
from inv3d.core.weights.archive import open_archive
from inv3d.core.weights.forms import describe_other, read_start
from inv3d.core.weights.plain import OPTIONS
from inv3d.core.weights.torchfile import TREE, StoredTensor, listed, mapped, read_pickled
from inv3d.core.weights.unpickle import Refused
from inv3d.io import labels as camera_labels

# names under which latents and their cameras are stored; those of several latents first
LATENTS, CAMERAS = ("ws", "w"), ("cs", "c")
SUFFIXES = (".npz", ".npy", ".pt")
_MOST_NUMBERS = 1 << 24


@dataclass(frozen=True)
class Latents:
    """Latents as a file holds them.

    Attributes:
        ws: [M, rows, w_dim]; one row stands for as many equal ones as the generator has.
        cameras: of the latents, where the file has them.
    """

    ws: Tensor
    cameras: Camera | None = None


def read_latents(path: Path) -> Latents:
    """Read latents that another project wrote.

    Args:
        path: .npz with `w` or `ws` (and `c` or `cs`), .npy, or .pt with a tensor or such names;
            which of them it is, is told by its contents.

    Raises:
        InputError: where there's no such file, or it holds no latents.
        WeightsError: where it's damaged, or torch.save wrote it and it holds anything but data.
    """
    path = Path(path)
    return latents_of(_read_arrays(path), path)


def latents_of(arrays: Mapping[str, Tensor], path: Path) -> Latents:
    """Find latents and their cameras among arrays by name; one array without a name is latents.

    Raises:
        InputError: where there are none, their shapes are wrong, or a camera isn't one.
    """
    name = next((n for n in (*LATENTS, "") if n in arrays), None)
    if name is None:
        raise _no_latents(list(arrays), path)
    ws = _shaped(arrays[name], path)
    camera = next((arrays[n] for n in CAMERAS if n in arrays), None)
    if camera is None:
        return Latents(ws)
    labels = camera.reshape(-1, LABEL_LENGTH) if camera.numel() % LABEL_LENGTH == 0 else camera
    if labels.shape != (len(ws), LABEL_LENGTH):
        raise InputError(
            f"{path}: cameras of shape {tuple(camera.shape)} for {len(ws)} latents, expected "
            f"{LABEL_LENGTH} numbers each"
        )
    return Latents(ws, _cameras(labels, path))


def _no_latents(names: Sequence[str], path: Path) -> InputError:
    return InputError(f"{path}: no latents named 'w' or 'ws'; it holds {listed(names)}")


def _cameras(labels: Tensor, path: Path) -> Camera:
    """Cameras of [M, 25] numbers, checked as those of captures are."""
    named = {f"latent {i}": row for i, row in enumerate(labels.double().tolist())}
    for name, row in named.items():
        camera_labels.numbers(row, f"{path}: label of {name}")
    camera, notices = camera_labels.cameras(named, str(path))
    for notice in notices.values():
        warnings.warn(notice, stacklevel=2)
    return camera


def _shaped(ws: Tensor, path: Path) -> Tensor:
    """[M, rows, w_dim] of [w_dim], [rows, w_dim], [M, rows, w_dim] or [M, 1, rows, w_dim]."""
    shape = tuple(ws.shape)
    if ws.ndim == 4 and shape[1] == 1:
        ws = ws[:, 0]
    while 0 < ws.ndim < 3:
        ws = ws[None]
    if ws.ndim != 3 or not ws.numel():
        raise InputError(f"{path}: latents of shape {shape}, expected [M, rows, w_dim]")
    if not bool(ws.isfinite().all()):
        raise InputError(f"{path}: latents with numbers that aren't finite; make them again")
    return ws.float()


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """Read arrays by name, one without a name as ""; what the file is, is told by its contents."""
    try:
        start = read_start(path, "file of latents")
    except WeightsError as error:
        raise InputError(str(error)) from None
    if start.startswith(np.lib.format.MAGIC_PREFIX):
        with path.open("rb") as file:
            return {"": _read_array(file, path)}
    if start.startswith(b"PK\x03\x04"):
        return _read_archive(path)
    if start[:1] == b"\x80":
        return _read_torch(path)
    raise InputError(
        f"{path}: holds no latents but {describe_other(start)}; expected {', '.join(SUFFIXES)}"
    )


def _read_archive(path: Path) -> dict[str, Tensor]:
    """Read an archive of NumPy arrays, or one of torch.save."""
    try:
        with path.open("rb") as file, mapped(file) as data, open_archive(data) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if any(name.rpartition("/")[2] == TREE for name in names):
                return _read_torch(path)
            found = {
                name: _read_member(archive, names[name], path)
                for name in (*LATENTS, *CAMERAS)
                if name in names
            }
    except Refused as error:
        raise WeightsError(f"{path}: {error}; write it again") from None
    if not found:
        raise _no_latents(list(names), path)
    return found


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


def _read_torch(path: Path) -> dict[str, Tensor]:
    pickled = read_pickled(path, OPTIONS)
    tree = pickled.tree if isinstance(pickled.tree, dict) else {"": pickled.tree}
    wanted = [n for n in (*LATENTS, *CAMERAS, "") if isinstance(tree.get(n), StoredTensor)]
    if not wanted:
        raise _no_latents(list(tree), path)
    try:
        return {name: pickled.tensor(tree[name]) for name in wanted}
    except Refused as error:
        raise WeightsError(f"{path}: {error}; write it again") from None


def read_labels(path: Path) -> Camera:
    """Read the cameras of latents: .npy with 25 numbers each.

    Raises:
        InputError: where the file isn't such, or a camera isn't one.
        WeightsError: where it's damaged.
    """
    arrays = _read_arrays(Path(path))
    labels = next((arrays[name] for name in (*CAMERAS, "") if name in arrays), torch.empty(0))
    if labels.numel() == 0 or labels.numel() % LABEL_LENGTH:
        raise InputError(
            f"{path}: shape {tuple(labels.shape)}, expected {LABEL_LENGTH} numbers a camera"
        )
    return _cameras(labels.reshape(-1, LABEL_LENGTH), path)


def write_latents(path: Path, ws: Tensor, cameras: Camera) -> None:
    """Write latents as reference tools read them.

    The file has `ws` [M, 1, rows, w_dim] and `cs` [M, 1, 25], as multi-latent inversion writes
    them, and `w` [1, rows, w_dim], `c` [1, 25], the latent whose camera is nearest to the front.

    Args:
        path: .npz.
        ws: [M, rows, w_dim].
        cameras: M cameras.
    """
    labels = cameras.labels().float().cpu().numpy()
    numbers = ws.detach().float().cpu().numpy()
    front = int(cameras.yaw.abs().argmin())
    arrays: dict[str, Any] = {
        "ws": numbers[:, None],
        "cs": labels[:, None],
        "w": numbers[front : front + 1],
        "c": labels[front : front + 1],
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
