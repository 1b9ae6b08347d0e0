"""EG3D's camera samplers, whose vertical number is not an angle but a share of the sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from inv3d.core.camera import Camera, orbit


def equal_area_orbit(
    horizontal: Tensor,
    vertical: Tensor,
    *,
    radius: float,
    focal: float,
    pivot: Sequence[float] = (0.0, 0.0, 0.0),
) -> Camera:
    """Return the cameras that EG3D's LookAtPoseSampler makes of its two numbers.

    Args:
        horizontal: [N] radians; pi / 2 is frontal, more moves to the subject's left.
        vertical: [N] from 0 (above) to pi (below); the polar angle is acos(1 - 2 vertical / pi), so
            that even steps cover even areas. Only at pi / 2 (the horizon) are the two equal.
        radius: of the sphere around the origin, world units.
        focal: focal length divided by the image size.
        pivot: the point looked at, world units.
    """
    share = vertical.clamp(1e-5, math.pi - 1e-5) / math.pi
    polar = torch.acos(1 - 2 * share)
    return orbit(
        horizontal - math.pi / 2, math.pi / 2 - polar, radius=radius, focal=focal, pivot=pivot
    )


def sample_poses(
    count: int,
    rng: torch.Generator,
    *,
    mean: tuple[float, float] = (math.pi / 2, math.pi / 2),
    deviation: tuple[float, float] = (0.3, 0.155),
    spread: Literal["normal", "uniform"] = "normal",
    radius: float,
    focal: float,
    pivot: Sequence[float] = (0.0, 0.0, 0.0),
) -> Camera:
    """Draw cameras, distributed as EG3D's samplers do in their two numbers, (horizontal, vertical).

    Args:
        count: N.
        rng: source of the draws.
        mean: of the two numbers.
        deviation: standard deviations of the two numbers, those of FFHQ.
        spread: "uniform" draws evenly within `deviation` of the mean.
        radius: of the sphere around the origin, world units.
        focal: focal length divided by the image size.
        pivot: the point looked at, world units.
    """
    horizontal, vertical = (
        _drawn(count, spread, rng) * width + centre
        for centre, width in zip(mean, deviation, strict=True)
    )
    return equal_area_orbit(horizontal, vertical, radius=radius, focal=focal, pivot=pivot)


def _drawn(count: int, spread: Literal["normal", "uniform"], rng: torch.Generator) -> Tensor:
    """Draw numbers [N] of deviation 1, or evenly from -1 to 1."""
    if spread == "normal":
        return torch.randn(count, 1, generator=rng)[:, 0]
    return torch.rand(count, 1, generator=rng)[:, 0] * 2 - 1


def focal_from_diagonal_fov(fov_deg: float) -> float:
    """Return the normalised focal length that EG3D gives a field of view in degrees.

    The angle is that of the image's diagonal, nearly: EG3D writes 3.14159 and 1.414.
    """
    return 1 / (math.tan(fov_deg * 3.14159 / 360) * 1.414)
