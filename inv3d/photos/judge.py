"""Which frames are left out because they're blurred, blink, or are like another one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from inv3d.photos.sight import Sight

# a few pictures were chosen by their owner; only many are compared with each other
_FEWEST = 5
# blur and eyes are compared with frames of about the same angle
_NEIGHBOURS_DEG = 15.0
_BLURRED, _CLOSED = 0.3, 0.4
# degrees, part of the face's size, and levels of 1 by which frames must differ
_SAME_DEG, _SAME_SHAPE, _SAME_LEVEL = 0.7, 0.006, 0.012


def judge(sights: Sequence[Sight]) -> None:
    """Give frames that shouldn't be kept a reason.

    Args:
        sights: of all frames, in order.
    """
    kept = [sight for sight in sights if sight.kept and not sight.by_hand]
    if len(kept) >= _FEWEST:
        _below(kept, lambda s: s.sharpness, _BLURRED, "blurred", "as sharp")
        _below(kept, lambda s: s.eyes, _CLOSED, "eyes closed", "as open")
    _alike(sights)


def _below(
    sights: Sequence[Sight], value: Callable[[Sight], float], part: float, what: str, how: str
) -> None:
    """Leave out frames in which a value is far below that of frames of about the same angle."""
    for sight in sights:
        near = [
            value(other)
            for other in sights
            if abs(other.yaw - sight.yaw) < math.radians(_NEIGHBOURS_DEG)
        ]
        usual = statistics.median(near)
        if value(sight) < part * usual:
            share = round(100 * value(sight) / usual)
            sight.reasons.append(f"{what}: {share} % {how} as others of about that angle")


def _alike(sights: Sequence[Sight]) -> None:
    """Leave out frames that show what the last kept one shows."""
    last: Sight | None = None
    for sight in sights:
        if not sight.kept:
            continue
        if last is not None and not sight.by_hand and _same(sight, last):
            sight.reasons.append(f"nearly the same as {last.name}")
        else:
            last = sight


def _same(a: Sight, b: Sight) -> bool:
    if a.found is None or b.found is None or a.thumb is None or b.thumb is None:
        return False
    if max(abs(a.yaw - b.yaw), abs(a.pitch - b.pitch)) > math.radians(_SAME_DEG):
        return False
    shapes = [s.square.to_square(s.points[:, :2]) for s in (a.found, b.found)]
    apart = float((shapes[0] - shapes[1]).norm(dim=1).mean())
    levels = float((a.thumb - b.thumb).abs().mean())
    return apart < _SAME_SHAPE and levels < _SAME_LEVEL
