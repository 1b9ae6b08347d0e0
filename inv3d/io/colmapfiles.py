"""Cameras as COLMAP's text files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.files import write_text


def write_colmap(folder: Path, camera: Camera, names: Sequence[str], resolution: int) -> None:
    """Write `cameras.txt`, `images.txt` and an empty `points3D.txt`.

    Args:
        folder: such as `sparse/0`.
        camera: N cameras.
        names: N file names.
        resolution: pixels a side that the intrinsics are for.
    """
    matrices = camera.cam2world.double().cpu()
    intrinsics = (camera.intrinsics.double().cpu() * resolution).tolist()
    cameras, images = (
        ["# CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy"],
        ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points"],
    )
    for number, (k, matrix, name) in enumerate(zip(intrinsics, matrices, names, strict=True), 1):
        numbers = (k[0][0], k[1][1], k[0][2], k[1][2])
        cameras.append(f"{number} PINHOLE {resolution} {resolution} {_text(numbers)}")
        rotation = matrix[:3, :3].T
        pose = [*quaternion(rotation), *(-rotation @ matrix[:3, 3]).tolist()]
        images += [f"{number} {_text(pose)} {number} {name}", ""]
    for name, lines in (("cameras", cameras), ("images", images), ("points3D", ["# none"])):
        write_text(folder / f"{name}.txt", "\n".join(lines) + "\n")


def _text(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:.12g}" for number in numbers)


def quaternion(rotation: Tensor) -> list[float]:
    """Return w, x, y, z with w >= 0 of a rotation [3, 3]."""
    r = rotation.double()
    # the eigenvector of the largest eigenvalue, which is exact for rotations of any angle
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = r.tolist()
    symmetric = torch.tensor(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ],
        dtype=torch.float64,
    )
    vector = torch.linalg.eigh(symmetric).eigenvectors[:, -1]
    vector = vector if float(vector[0]) >= 0 else -vector
    return [float(value) for value in vector]
