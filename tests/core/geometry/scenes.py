"""Scenes whose depth is known: a sphere in front of a wall, by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera

RADIUS, WALL = 0.4, -0.6


def sphere_depth(camera: Camera, size: int) -> Tensor:
    """Distance along the ray [N, 1, size, size] to a sphere around the origin, or the wall z."""
    origins, directions = camera.rays(size)
    along = -(origins * directions).sum(-1)
    gap = RADIUS**2 - (origins.square().sum(-1) - along.square())
    wall = (WALL - origins[..., 2]) / directions[..., 2]
    near = torch.where(gap > 0, along - gap.clamp_min(0).sqrt(), wall)
    return near.view(len(camera), 1, size, size)


def colours(points: Tensor) -> Tensor:
    """A smooth colour [..., 3] of world points [..., 3]."""
    return torch.sin(3 * points + torch.tensor([0.0, 1.0, 2.0]).to(points))


def picture(camera: Camera, depth: Tensor) -> Tensor:
    """What cameras see of the colours, [N, 3, h, w]."""
    from inv3d.core.geometry.depth import depth_points

    size = depth.shape[-1]
    return colours(depth_points(camera, depth)).transpose(1, 2).unflatten(2, (size, size))


def truly_visible(points: Tensor, position: Tensor, margin: float = 1e-3) -> Tensor:
    """Whether nothing of the sphere lies between points [P, 3] and a position [3]."""
    way = position - points
    length = torch.linalg.vector_norm(way, dim=-1)
    direction = way / length[:, None]
    along = -(points * direction).sum(-1)
    gap = RADIUS**2 - (points.square().sum(-1) - along.square())
    leaves = along + gap.clamp_min(0).sqrt()
    return ~((gap > 0) & (leaves > margin))
