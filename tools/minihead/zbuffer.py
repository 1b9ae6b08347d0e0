"""The z-buffer of `raster.cover` as compiled loops: many times faster on a CPU (needs numba)."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def cover(points: Tensor, faces: Tensor, two_sided: Tensor, size: int) -> Tensor:
    """As `raster.cover`, on the CPU."""
    found = np.full((len(points), size, size), -1, np.int64)
    depth = np.zeros((len(points), size, size), np.float32)
    corners = np.ascontiguousarray(points.detach().float().numpy())
    _cover(corners, faces.int().numpy(), two_sided.numpy(), found, depth)
    return torch.from_numpy(found)


@numba.njit(cache=True, nogil=True)
def _cover(
    points: NDArray[np.float32],
    faces: NDArray[np.int32],
    two_sided: NDArray[np.bool_],
    found: NDArray[np.int64],
    nearness: NDArray[np.float32],
) -> None:
    size = found.shape[1]
    for image in range(points.shape[0]):
        corner = points[image]
        for face in range(faces.shape[0]):
            a, b, c = faces[face]
            x0, y0, z0 = corner[a]
            x1, y1, z1 = corner[b]
            x2, y2, z2 = corner[c]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            if (area > 0 and not two_sided[face]) or area == 0 or min(z0, z1, z2) <= 1e-3:
                continue
            left = max(0, int(np.ceil(min(x0, x1, x2) - 0.5)))
            right = min(size - 1, int(np.floor(max(x0, x1, x2) - 0.5)))
            top = max(0, int(np.ceil(min(y0, y1, y2) - 0.5)))
            bottom = min(size - 1, int(np.floor(max(y0, y1, y2) - 0.5)))
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    px, py = column + np.float32(0.5), row + np.float32(0.5)
                    w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) / area
                    w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) / area
                    w2 = 1 - w0 - w1
                    if w0 < 0 or w1 < 0 or w2 < 0:
                        continue
                    inverse = w0 / z0 + w1 / z1 + w2 / z2
                    if inverse >= nearness[image, row, column]:
                        nearness[image, row, column] = inverse
                        found[image, row, column] = face
