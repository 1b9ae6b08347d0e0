"""Which views encoders see, and what becomes of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.nn.face.place import misplacement
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


def say_where_faces_are(generator: Generator, views: Capture, context: Context) -> None:
    """Warn where the face of the view nearest to the front isn't where encoders know faces.

    Nothing is said where the generator shows no faces, or where none is found.
    """
    if generator.faces is None:
        return
    row = front(views.cameras)
    found = misplacement(views.images[row], views.camera[row], generator.faces)
    if found is not None and not found.small:
        context.notice(
            f"{views.names[row]}: from its camera, generator {generator.spec.name} shows faces "
            f"elsewhere: this one is {found}; encoders have seen none so: cut the photo anew with "
            "'3dinv prepare', or correct its label"
        )


def by_frame(views: Capture) -> dict[str, Any]:
    """Return how the latents of several views blend: each belongs to its frame alone."""
    return {"blend": "frame", "frames": views.names} if len(views) > 1 else {}
