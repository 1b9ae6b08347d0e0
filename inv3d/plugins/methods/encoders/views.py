"""Which views encoders see, and what becomes of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.plugins.methods.encoders.options import EncodingConfig

# views that are encoded together
AT_ONCE = 8


def fitted_views(config: EncodingConfig, cameras: Camera | None, count: int) -> Sequence[int]:
    """Return the view nearest to the front, or all."""
    return range(count) if config.views == "all" else [front(cameras)]


def parts_of(views: Capture) -> Iterator[Capture]:
    """Yield a few views at a time."""
    for first in range(0, len(views), AT_ONCE):
        yield views[range(first, min(first + AT_ONCE, len(views)))]


def by_frame(views: Capture) -> dict[str, Any]:
    """Return how the latents of several views blend: each belongs to its frame alone."""
    return {"blend": "frame", "frames": views.names} if len(views) > 1 else {}
