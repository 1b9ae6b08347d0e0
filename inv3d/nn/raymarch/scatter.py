"""Gradients of sampled features, added to planes in an order: the same bits every time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inv3d.nn.planes.triplane import PlaneAxes, project

# Numbers that are added to planes at a time.
CHUNK = 1 << 26


def scatter(gradient: Tensor, points: Tensor, like: Tensor, axes: PlaneAxes, box: float) -> Tensor:
    """Return the gradient of planes; `index_add_` orders its sums where torch is told to.

    Args:
        gradient: [B, P, C], of the sum of the planes' features at each point.
        points: [B, P, 3].
        like: planes, [B, 3, C, R, R] or [B, 3, C, D, R, R].
        axes: which axes the planes span.
        box: side of the cube that they cover, world units.
    """
    batch, planes, channels, *inner = like.shape
    tables = gradient.new_zeros(batch, planes, math.prod(inner), channels)
    places = project(points * (1 / box), axes, len(inner) == 3)
    size = max(1, CHUNK // channels)
    for scene in range(batch):
        for plane in range(planes):
            for start in range(0, points.shape[1], size):
                part = slice(start, start + size)
                there, share = places[scene, plane, part], gradient[scene, part]
                _add(tables[scene, plane], there, share, inner[::-1])
    return tables.view(batch, planes, *inner, channels).movedim(-1, 2)


def _add(table: Tensor, places: Tensor, gradient: Tensor, sides: list[int]) -> None:
    """Add gradients [P, C] to texels [T, C].

    Args:
        table: of a plane, column by column, row by row, slice by slice.
        places: [P, 2 or 3], -1/2 to 1/2 inside the box.
        gradient: of all texels together.
        sides: columns, rows and slices.
    """
    position = [
        (places[:, axis] * side + (side - 1) / 2).clamp(-2, side + 1)
        for axis, side in enumerate(sides)
    ]
    low = [value.floor() for value in position]
    for corner in range(1 << len(sides)):
        texel = torch.zeros_like(places[:, 0], dtype=torch.int64)
        share = torch.ones_like(places[:, 0])
        stride = 1
        for axis, side in enumerate(sides):
            up = corner >> axis & 1
            index = low[axis].long() + up
            part = position[axis] - low[axis]
            inside = (index >= 0) & (index < side)
            share = share * (part if up else 1 - part) * inside
            texel += index.clamp(0, side - 1) * stride
            stride *= side
        table.index_add_(0, texel, gradient * share[:, None])
