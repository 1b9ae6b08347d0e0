"""Which way the surface of a depth map faces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.core.geometry.depth import depth_points


def surface_normals(camera: Camera, depth: Tensor, *, step: int = 1) -> Tensor:
    """Return the unit normals of depth maps, towards their camera; differentiable.

    Each is the cross product of the ways to two neighbours, one across and one down; on either
    axis the neighbour that is nearer in depth is taken, so that normals don't span the edge of one
    surface in front of another.

    Args:
        camera: N cameras.
        depth: [N, 1, h, w], distance along the unit ray, world units; 0 where there's no surface.
        step: how many pixels away the neighbours are; more where depth is noisy, or was enlarged.

    Returns:
        [N, h, w, 3] in the world, 0 where there's no surface or no neighbour.
    """
    points = _points(camera, depth)
    ways = [_way(points, depth[:, 0], axis, step) for axis in (2, 1)]
    normal = F.normalize(torch.linalg.cross(*ways), dim=-1)
    towards = ((camera.position[:, None, None] - points) * normal).sum(-1, keepdim=True)
    turned: Tensor = normal * towards.sign()
    return turned


def _points(camera: Camera, depth: Tensor) -> Tensor:
    """The points of depth maps, [N, h, w, 3]."""
    return depth_points(camera, depth).view(len(depth), *depth.shape[-2:], 3)


def _way(points: Tensor, depth: Tensor, axis: int, step: int) -> Tensor:
    """The way to the neighbour on an axis that is nearer in depth, [N, h, w, 3]; 0 without any."""
    size = depth.shape[axis]
    place = torch.arange(size, device=depth.device).view(-1, *[1] * (2 - axis))
    steps: list[Tensor] = []
    gaps: list[Tensor] = []
    for shift in (-step, step):
        other = depth.roll(shift, axis)
        inside = place < size - step if shift < 0 else place >= step
        known = inside & (depth > 0) & (other > 0)
        gaps.append(torch.where(known, (other - depth).abs(), torch.inf))
        steps.append((points.roll(shift, axis) - points) * (1 if shift < 0 else -1))
    nearer = torch.where((gaps[0] <= gaps[1])[..., None], steps[0], steps[1])
    known = (torch.minimum(*gaps) < torch.inf)[..., None]
    return torch.where(known, nearer, torch.zeros_like(nearer))


def facing(view: Camera, depth: Tensor, camera: Camera, *, step: int = 1) -> Tensor:
    """Return how squarely other cameras look at the surfaces of views.

    Args:
        view: N cameras that the depth belongs to.
        depth: [N, 1, h, w], of the views; see `surface_normals`.
        camera: N cameras that look at the points, or one.
        step: see `surface_normals`.

    Returns:
        [N, 1, h, w], cosine of the angle between the normal and the way to the camera: 1 where it
        looks at the surface squarely, 0 where it grazes it and where there's none, below 0 where
        it would see its back.

    Example:
        >>> import inv3d, torch
        >>> prior = inv3d.CameraPrior(radius=2.7, focal=4.26)
        >>> plane = inv3d.ray_depth(prior.front(), torch.full((1, 1, 8, 8), 2.7))
        >>> side = prior.orbit(torch.tensor([60.0]).deg2rad())
        >>> round(float(inv3d.facing(prior.front(), plane, side).mean()), 2)
        0.5
    """
    points = _points(view, depth)
    way = F.normalize(camera.position[:, None, None] - points, dim=-1)
    return (surface_normals(view, depth, step=step) * way).sum(-1)[:, None]
