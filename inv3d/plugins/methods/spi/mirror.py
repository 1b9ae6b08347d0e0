"""The mirror image of a picture, and how much it tells."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.geometry.views import flipped, mirrored_camera

# which the official code divides the density by
_SCALE = 2.7


def side_angle(camera: Camera) -> Tensor:
    """Return how far cameras look from the side, [N] radians, 0 from the front.

    It's the angle of the viewing direction out of the head's plane of symmetry, and doesn't change
    with the height that they look from.
    """
    return torch.asin(camera.rotation[:, 0, 2].clamp(-1, 1)).neg()


def mirror_weight(camera: Camera, *, deviation: float, front: float) -> Tensor:
    """Return how much the mirrored view tells, [N] from 0 to 0.5.

    Half of 1 minus the scaled normal density of the angle, so that rare views from the side count
    more; 0 where a narrow density is above the scale, and near the front, where the mirrored view
    is the view itself.

    Args:
        camera: N cameras.
        deviation: of the angle among faces, radians.
        front: angle below which it's 0, radians.
    """
    angle = side_angle(camera)
    density = torch.exp(-angle.square() / (2 * deviation**2)) / (deviation * math.sqrt(math.tau))
    weight = (1 - density / _SCALE).clamp_min(0) / 2
    return torch.where(angle.abs() < front, torch.zeros_like(weight), weight)


def mirror_image(capture: Capture) -> Capture:
    """Return the mirror image of views, as the mirrored cameras see a symmetric head."""
    return replace(
        capture,
        images=flipped(capture.images),
        cameras=mirrored_camera(capture.camera),
        masks=None if capture.masks is None else flipped(capture.masks),
        depths=None if capture.depths is None else flipped(capture.depths),
        extras={},
    )
