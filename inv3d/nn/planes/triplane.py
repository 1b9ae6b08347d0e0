"""Tri-planes and tri-grids: which axes they span, and sampling their features at points.

A tri-grid (PanoHead, arXiv 2303.13071) is a tri-plane whose planes have a few slices
along the axis that they don't span, so that front and back of a head differ.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.planes.gather import gather_planes

PlaneAxes = Literal["eg3d", "corrected", "cyclic", "panohead"]

# Which world axes run along the width and the height of each plane; the third runs along its
# slices. Published EG3D networks never see y and z together; their authors gave two corrections,
# one in issue 67 of their repository and one on its branch fixed_triplanes (cyclic).
AXES: dict[PlaneAxes, tuple[tuple[int, int], ...]] = {
    "eg3d": ((0, 1), (0, 2), (2, 0)),
    "corrected": ((0, 1), (0, 2), (2, 1)),
    "cyclic": ((0, 1), (1, 2), (2, 0)),
    "panohead": ((0, 1), (0, 2), (1, 2)),
}


def project(points: Tensor, axes: PlaneAxes, depth: bool = False) -> Tensor:
    """Return the positions of points [B, P, 3] on the planes, [B, 3, P, 2], or 3 with depth."""
    orders = [[a, b, 3 - a - b] if depth else [a, b] for a, b in AXES[axes]]
    return torch.stack([points[..., order] for order in orders], dim=1)


def sample_planes(planes: Tensor, points: Tensor, axes: PlaneAxes, box: float) -> Tensor:
    """Return the mean of the three planes' features at points, zero outside the box.

    The slices of a tri-grid are layers of equal thickness. Features are interpolated between the
    centres of slices and fade to zero half a slice beyond the box.

    On a CPU, points without gradient take a faster way (`gather_planes`) to the same values;
    `sample_planes_plain` is the other one.

    Args:
        planes: [B, 3, C, R, R], or [B, 3, C, D, R, R] with D slices.
        points: [B, P, 3], world units.
        axes: which axes the planes span.
        box: side of the cube around the origin that the planes cover, world units.

    Returns:
        [B, P, C].
    """
    wants_gradient = points.requires_grad and torch.is_grad_enabled()
    if planes.device.type == "cpu" and planes.dtype == torch.float32 and not wants_gradient:
        return gather_planes(planes, points, AXES[axes], box)
    return sample_planes_plain(planes, points, axes, box)


def sample_planes_plain(planes: Tensor, points: Tensor, axes: PlaneAxes, box: float) -> Tensor:
    """`sample_planes` by grid_sample: any device and type, gradients to points too."""
    batch, count = planes.shape[:2]
    depth = planes.ndim == 6
    grid = project(points * (2 / box), axes, depth).flatten(0, 1)[:, None]
    sampled = F.grid_sample(
        planes.flatten(0, 1),
        grid[:, None] if depth else grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return sampled.reshape(batch, count, planes.shape[2], -1).mean(dim=1).transpose(1, 2)
