"""Which angles the frames show, which of them are kept, and where there are gaps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

from inv3d.core.capture import evenly_by_angle
from inv3d.photos.sight import Sight

NOT_NEEDED = "not needed"
GAP_DEG = 20.0
_WIDE_DEG = 30.0


def choose(sights: Sequence[Sight], count: int) -> None:
    """Leave out all but those nearest to evenly spaced yaws between the outermost two."""
    kept = [sight for sight in sights if sight.kept]
    if len(kept) <= count:
        return
    yaw = torch.tensor([sight.yaw for sight in kept], dtype=torch.float64)
    chosen = set(evenly_by_angle(yaw, count))
    for row, sight in enumerate(kept):
        if row not in chosen:
            sight.reasons.append(f"{NOT_NEEDED}: others are nearer to evenly spaced angles")


def gaps(sights: Sequence[Sight]) -> list[tuple[float, float]]:
    """Return neighbouring yaws in degrees between which nothing was kept for 20 degrees or more."""
    yaws = sorted(math.degrees(sight.yaw) for sight in sights if sight.kept)
    return [(a, b) for a, b in itertools.pairwise(yaws) if b - a >= GAP_DEG]


def warnings(sights: Sequence[Sight], reach_deg: float) -> list[str]:
    """Say what is missing, or beyond what the generator knows.

    Args:
        sights: of all frames.
        reach_deg: how far the generator's training cameras went.
    """
    yaws = sorted(math.degrees(sight.yaw) for sight in sights if sight.kept)
    said = []
    for low, high in gaps(sights):
        said.append(
            f"no frame between {low:+.0f} and {high:+.0f} degrees: what is seen from there is "
            "guessed; turn the head more slowly, or add pictures"
        )
    if len(yaws) > 1 and yaws[-1] - yaws[0] < _WIDE_DEG:
        said.append(
            f"the yaws go from {yaws[0]:+.0f} to {yaws[-1]:+.0f} degrees only; methods of several "
            "views need the head from more sides"
        )
    beyond = sum(abs(yaw) > reach_deg for yaw in yaws)
    if beyond:
        said.append(
            f"{beyond} of {len(yaws)} frames are seen from beyond {reach_deg:.0f} degrees, which "
            "the generator wasn't trained with"
        )
    return said
