"""Which views encoders see, and what becomes of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.fit.context import Context
from inv3d.core.fit.stages import prepare
from inv3d.core.generator import Generator
from inv3d.core.inverter import Single
from inv3d.nn.face.place import misplacement
from inv3d.plugins.methods.encoders.options import EncodingConfig

# views of one capture that are encoded together; of several captures, at least one of each
AT_ONCE = 8


def fitted_views(config: EncodingConfig, cameras: Camera | None, count: int) -> Sequence[int]:
    """Return the view nearest to the front, or all."""
    return range(count) if config.views == "all" else [front(cameras)]


def encoded_views(one: Single) -> Capture:
    """Return the views that are encoded of a capture, on the device."""
    seen = one.capture[one.method.fitted(one.capture.cameras, len(one.capture))]
    views = prepare(one.generator, seen, one.context)
    say_where_faces_are(one.generator, views, one.context)
    return views


@dataclass(frozen=True)
class Views:
    """The views of several captures, one after another.

    Attributes:
        images: [N, 3, H, W].
        camera: N cameras.
        counts: how many of the N belong to each capture.
    """

    images: Tensor
    camera: Camera
    counts: Sequence[int]

    @staticmethod
    def of(captures: Sequence[Capture]) -> Views:
        """Join captures, all of which have cameras."""
        images = torch.cat([views.images for views in captures])
        camera = Camera.cat([views.camera for views in captures])
        return Views(images, camera, [len(views) for views in captures])

    def parts(self) -> Iterator[tuple[Tensor, Camera]]:
        """Yield pictures and cameras of a few views at a time."""
        size = max(AT_ONCE, len(self.counts))
        for first in range(0, len(self.images), size):
            yield self.images[first : first + size], self.camera[slice(first, first + size)]

    def split(self, rows: Tensor) -> Sequence[Tensor]:
        """Return what belongs to each capture of N rows."""
        return rows.split_with_sizes(list(self.counts))


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
