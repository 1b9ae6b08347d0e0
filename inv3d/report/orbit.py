"""Camera paths for videos and strips, within what a generator supports."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.errors import UsageError, suggest

ORBITS = ("front-sweep", "full", "ellipse")
_INSIDE = 0.9
_STRIP_PITCH = 0.7


def default_orbit(prior: CameraPrior) -> str:
    """Return "full" for generators that know all sides, else "front-sweep"."""
    return "full" if prior.all_around else "front-sweep"


def orbit_path(name: str, prior: CameraPrior, frames: int) -> Camera:
    """Return a closed camera path that begins in front.

    Args:
        name: "front-sweep" (side to side), "full" (once around) or "ellipse" (side to side with
            the pitch in quadrature); the sweeps keep to nine tenths of the prior's range.
        prior: of the generator.
        frames: number of cameras.

    Raises:
        UsageError: where the name is unknown.
    """
    phase = torch.arange(frames, dtype=torch.float64) * (2 * math.pi / frames)
    yaw, pitch = (math.radians(v * _INSIDE) for v in (min(prior.yaw_deg, 90.0), prior.pitch_deg))
    still = torch.zeros_like(phase)
    paths: dict[str, tuple[Tensor, Tensor]] = {
        "front-sweep": (yaw * phase.sin(), still),
        "full": (_wrapped(phase), still),
        "ellipse": (yaw / 2 * phase.sin(), pitch / 2 * (1 - phase.cos())),
    }
    if name not in paths:
        raise UsageError(f"unknown orbit '{name}'{suggest(name, ORBITS)}")
    return prior.orbit(*(angle.float() for angle in paths[name]))


def strip(prior: CameraPrior) -> Camera:
    """Return the cameras of the novel-view strip: a yaw sweep, then from above and from below."""
    if prior.all_around:
        yaw = torch.linspace(-135.0, 180.0, 8)
    else:
        yaw = torch.linspace(-prior.yaw_deg * _INSIDE, prior.yaw_deg * _INSIDE, 7)
    pitch = prior.pitch_deg * _STRIP_PITCH
    yaws = torch.cat([yaw, torch.zeros(2)]).deg2rad()
    pitches = torch.cat([torch.zeros_like(yaw), torch.tensor([pitch, -pitch])]).deg2rad()
    return prior.orbit(yaws, pitches)


def _wrapped(angle: Tensor) -> Tensor:
    """Angles from -pi to pi."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
