"""Cameras of the rendered heads: OpenCV axes, looking at the origin, EG3D's field of view."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FOCAL = 4.2647
RADIUS = 2.7
MAX_PITCH = 0.5


def orbit(yaw: Tensor, pitch: Tensor, radius: float | Tensor = RADIUS) -> Tensor:
    """Cameras [..., 4, 4] on a sphere that look at the origin, image up along world y.

    Args:
        yaw: [...] radians; 0 looks at the face, positive moves the camera to +x.
        pitch: [...] radians; positive moves the camera up.
        radius: distance from the origin, one number or [...].
    """
    zero = torch.zeros_like(yaw)
    back = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], -1)
    right = torch.stack([yaw.cos(), zero, -yaw.sin()], -1)
    down = torch.linalg.cross(-back, right)
    pose = torch.zeros(*yaw.shape, 4, 4, dtype=yaw.dtype, device=yaw.device)
    pose[..., :3, :3] = torch.stack([right, down, -back], -1)
    pose[..., :3, 3] = back * torch.as_tensor(radius, device=yaw.device)[..., None]
    pose[..., 3, 3] = 1
    return pose


def sample_angles(
    n: int, views: int, generator: torch.Generator, frontal: float = 0.65
) -> tuple[Tensor, Tensor]:
    """Training angles: yaw is N(0, 0.6) with probability `frontal`, else uniform all around.

    Returns:
        yaw and pitch, each [n, views], radians, on the generator's device.
    """
    shape, device = (n, views), generator.device
    normal = torch.randn(2, *shape, generator=generator, device=device)
    uniform = torch.rand(2, *shape, generator=generator, device=device)
    around = (uniform[0] * 2 - 1) * math.pi
    yaw = torch.where(uniform[1] < frontal, normal[0] * 0.6, around)
    return yaw, (normal[1] * 0.2).clamp(-MAX_PITCH, MAX_PITCH)


def sample_cameras(
    n: int, views: int, generator: torch.Generator, radius_jitter: float = 0.0
) -> Tensor:
    """Training cameras [n, views, 4, 4] on the generator's device.

    Args:
        radius_jitter: standard deviation of the radius around `RADIUS`, world units.
    """
    yaw, pitch = sample_angles(n, views, generator)
    jitter = torch.randn(n, views, generator=generator, device=generator.device)
    return orbit(yaw, pitch, RADIUS + radius_jitter * jitter)
