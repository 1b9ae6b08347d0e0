"""Cameras of the rendered heads: OpenCV axes, looking at the origin, EG3D's field of view."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FOCAL = 4.2647
RADIUS = 2.7
MAX_PITCH = 0.5
CLOSE_UPS = 0.2  # share of the training views
FACE = (0.0, -0.045, 0.08)  # what close-ups look at, world units


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
    n: int, views: int, generator: torch.Generator, close_ups: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Training cameras on the generator's device.

    Args:
        n: heads.
        views: cameras of each.
        generator: draws them.
        close_ups: share of views that fill the picture with the face, seen from near the front.

    Returns:
        poses [n, views, 4, 4] and focal lengths [n, views] in picture widths.
    """
    yaw, pitch = sample_angles(n, views, generator)
    draw = torch.rand(2, n, views, generator=generator, device=generator.device)
    frontal = torch.randn(n, views, generator=generator, device=generator.device) * 0.5
    close = draw[0] < close_ups
    poses = orbit(torch.where(close, frontal, yaw), pitch)
    poses[..., :3, 3] += close[..., None] * torch.tensor(FACE, device=generator.device)
    return poses, torch.where(close, FOCAL * (1.6 + 0.6 * draw[1]), FOCAL)
