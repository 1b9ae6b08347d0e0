"""Tri-planes: which axes they span, and sampling their features at points."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.plane_gather import gather_planes

PlaneAxes = Literal["eg3d", "corrected", "cyclic"]

# Which world axes run along the width and the height of each plane. Published EG3D networks never
# see y and z together; their authors gave two corrections, one in issue 67 of their repository and
# one on its branch fixed_triplanes (cyclic).
AXES: dict[PlaneAxes, tuple[tuple[int, int], ...]] = {
    "eg3d": ((0, 1), (0, 2), (2, 0)),
    "corrected": ((0, 1), (0, 2), (2, 1)),
    "cyclic": ((0, 1), (1, 2), (2, 0)),
}


def project(points: Tensor, axes: PlaneAxes) -> Tensor:
    """Return the positions of points [B, P, 3] on the planes, [B, 3, P, 2]."""
    return torch.stack([points[..., list(pair)] for pair in AXES[axes]], dim=1)


def sample_planes(planes: Tensor, points: Tensor, axes: PlaneAxes, box: float) -> Tensor:
    """Return the mean of the three planes' features at points, zero outside the box.

    On a CPU, points without gradient take the faster of two equal ways.

    Args:
        planes: [B, 3, C, R, R].
        points: [B, P, 3], world units.
        axes: which axes the planes span.
        box: side of the cube around the origin that the planes cover, world units.

    Returns:
        [B, P, C].
    """
    wants_gradient = points.requires_grad and torch.is_grad_enabled()
    if planes.device.type == "cpu" and planes.dtype == torch.float32 and not wants_gradient:
        return gather_planes(planes, points, AXES[axes], box)
    return interpolate_planes(planes, points, axes, box)


def interpolate_planes(planes: Tensor, points: Tensor, axes: PlaneAxes, box: float) -> Tensor:
    """`sample_planes` by grid_sample: any device, gradients to points too."""
    batch, count, channels, height, width = planes.shape
    grid = project(points * (2 / box), axes).flatten(0, 1)[:, None]
    sampled = F.grid_sample(
        planes.reshape(batch * count, channels, height, width),
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return sampled.reshape(batch, count, channels, -1).mean(dim=1).transpose(1, 2)
