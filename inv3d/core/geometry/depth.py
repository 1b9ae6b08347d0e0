"""Depth maps to points and back.

Depth is the distance along the unit ray through a pixel's centre, as generators render it. What
lies behind what is told along the viewing axis (z), which is shorter towards the edges of the
picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return where the centres of pixels lie, [height, width, 2] as (u, v) from 0 to 1.

    Args:
        height: pixels.
        width: pixels.
        like: a tensor of the wanted type, on the wanted device.
    """
    u = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
    v = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def depth_points(camera: Camera, depth: Tensor) -> Tensor:
    """Return the world points of depth maps; differentiable in depth and cameras.

    Args:
        camera: N cameras.
        depth: [N, 1, h, w], distance along the unit ray, world units.

    Returns:
        [N, h * w, 3], rows of pixels first.

    Example:
        >>> import inv3d, torch
        >>> camera = inv3d.CameraPrior(radius=2.7, focal=4.26).front()
        >>> points = inv3d.depth_points(camera, torch.full((1, 1, 8, 8), 2.7))
        >>> uv, distance = inv3d.point_depth(camera, points)
        >>> points.shape, bool(torch.allclose(distance, torch.tensor(2.7)))
        (torch.Size([1, 64, 3]), True)
    """
    height, width = depth.shape[-2:]
    centres = pixel_centres(height, width, depth).reshape(1, -1, 2)
    return camera.unproject(centres.expand(len(camera), -1, -1), depth.flatten(1))


def point_depth(camera: Camera, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return where points appear and how far away they are; differentiable in all.

    Args:
        camera: N cameras.
        points: [N, P, 3] or [P, 3], world units.

    Returns:
        uv [N, P, 2], 0 to 1 in the picture, and the distance from the camera [N, P], the depth
        along the ray through uv. Points behind the camera have a distance too.
    """
    uv, _ = camera.project(points)
    return uv, torch.linalg.vector_norm(points - camera.position[:, None], dim=-1)


def axis_depth(camera: Camera, depth: Tensor) -> Tensor:
    """Return depth along the viewing axis (z) of depth along the rays, both [N, 1, h, w]."""
    return depth / _stretch(camera, depth)


def ray_depth(camera: Camera, z: Tensor) -> Tensor:
    """Return depth along the rays of depth along the viewing axis (z), both [N, 1, h, w]."""
    return z * _stretch(camera, z)


def _stretch(camera: Camera, depth: Tensor) -> Tensor:
    """How many times longer the way along each pixel's ray is than along the axis, [N, 1, h, w]."""
    x, y = _slopes(camera, *depth.shape[-2:])
    return torch.sqrt(1 + x.square() + y.square())[:, None]


def _slopes(camera: Camera, height: int, width: int) -> tuple[Tensor, Tensor]:
    """x and y where z is 1 of the rays through pixel centres, that broadcast to [N, h, w]."""
    centres = pixel_centres(height, width, camera.intrinsics)
    k = camera.intrinsics[:, :, :, None, None]
    y = (centres[None, :, :1, 1] - k[:, 1, 2]) / k[:, 1, 1]
    x = (centres[None, :1, :, 0] - k[:, 0, 2]) / k[:, 0, 0]
    return x - k[:, 0, 1] / k[:, 0, 0] * y, y
