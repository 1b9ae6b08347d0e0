"""Latents in the files of other projects: .npz, .npy and .pt."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from inv3d.core.camera import LABEL_LENGTH, Camera
from inv3d.core.errors import InputError, WeightsError
from inv3d.core.files import atomic_write
from inv3d.core.weights.archive import listed, weight_files
from inv3d.io import labels as camera_labels
from inv3d.io.arrays import read_arrays

# names under which latents and their cameras are stored; those of several latents first
LATENTS, CAMERAS = ("ws", "w"), ("cs", "c")
_WANTED = (*LATENTS, *CAMERAS, "")


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
    arrays = read_arrays(path, _WANTED)
    if not set(arrays.found) & {*LATENTS, ""}:
        raise _none("latents", LATENTS, arrays.kinds, path)
    return latents_of(arrays.found, path)


def holds(path: Path, wanted: Sequence[str]) -> bool:
    """Whether a file holds latents or cameras and no network, whatever its name says.

    What else was written with them, such as the number of a step, doesn't matter.

    Args:
        path: of the file.
        wanted: `LATENTS` or `CAMERAS`, at least one of which it must have; an array without a name
            will do.
    """
    try:
        arrays = read_arrays(path, (*wanted, ""))
    except (InputError, WeightsError):
        return False
    return bool(arrays.found) and arrays.alone


def latents_of(arrays: Mapping[str, Tensor], path: Path) -> Latents:
    """Find latents and their cameras among arrays by name; one array without a name is latents.

    Raises:
        InputError: where there are none, their shapes are wrong, or a camera isn't one.
    """
    name = next((n for n in (*LATENTS, "") if n in arrays), None)
    if name is None:
        raise _none("latents", LATENTS, dict.fromkeys(arrays, "tensor"), path)
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


def _none(what: str, wanted: Sequence[str], kinds: Mapping[str, str], path: Path) -> InputError:
    """Return the error for a file without latents or cameras.

    Args:
        what: is wanted.
        wanted: names that it may have.
        kinds: what the file holds by name.
        path: of the file.
    """
    names = list(kinds)
    packed = weight_files(names)
    if packed:
        return InputError(
            f"{path}: no {what} but an archive of other files ({listed(names)}); unpack it, and "
            f"see whether {listed(packed)} has them"
        )
    other = next((name for name in wanted if name in kinds), None)
    if other is not None:
        return InputError(
            f"{path}: {what} expected, but '{other}' is a {kinds[other]}; save it as a tensor or a "
            "NumPy array"
        )
    held = listed(names) if any(names) else "no tensor, and no names"
    held += f" but a {kinds['']}" if "" in kinds else ""
    return InputError(
        f"{path}: no {what} named {' or '.join(map(repr, reversed(wanted)))}; it holds {held}; "
        "save them under one of these names"
    )


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


def read_labels(path: Path) -> Camera:
    """Read the cameras of latents, see `label_rows`.

    Raises:
        InputError: where the file isn't such, or a camera isn't one.
        WeightsError: where it's damaged.
    """
    return _cameras(label_rows(path), path)


def label_rows(path: Path) -> Tensor:
    """Return 25 numbers a camera, [M, 25]: `c` or `cs` of the files that `read_latents` takes.

    Raises:
        InputError: where the file isn't such.
        WeightsError: where it's damaged.
    """
    arrays = read_arrays(Path(path), _WANTED)
    labels = next((arrays.found[name] for name in (*CAMERAS, "") if name in arrays.found), None)
    if labels is None:
        raise _none("cameras", CAMERAS, arrays.kinds, Path(path))
    if labels.numel() == 0 or labels.numel() % LABEL_LENGTH:
        raise InputError(
            f"{path}: shape {tuple(labels.shape)}, expected {LABEL_LENGTH} numbers a camera"
        )
    return labels.reshape(-1, LABEL_LENGTH)


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
