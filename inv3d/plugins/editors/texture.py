"""Texture editing: paint on the picture, see it from all sides (HFGI3D).

The run's latent and its tuned generator give the geometry. The edited picture is carried to views
nearby, and the generator is tuned to it and to them; nothing before that is done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig, merge
from inv3d.core.editor import Directions, Editor, Subject
from inv3d.core.errors import ConfigError, InputError, suggest
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Snapshot
from inv3d.core.inverter import load_method
from inv3d.io.pictures import read_mask, read_picture

# what was found before the picture was painted on stays
_KEPT: Mapping[str, Any] = {
    "init_tuned": True,
    "coarse": {"latent": {"steps": 0}, "tuning": {"steps": 0}},
}


class TextureEdit(PluginConfig):
    """One edit: an edited copy of the photo, or a picture that is laid on it through a mask."""

    picture: Path = Field(
        description="the photo as it was cut for the run, edited; with a mask, what is laid on it"
    )
    mask: Path | None = Field(
        None, description="white where the picture is laid on the photo; none is everywhere"
    )
    strength: float = Field(1.0, ge=0, le=1, description="how opaque the picture is")
    frame: str | None = Field(
        None, description="which of the run's frames is edited; none is the most frontal one"
    )
    steps: int = Field(200, ge=0, description="of the final tuning (HFGI3D: 1000)")
    method_options: dict[str, Any] = Field(
        {}, description="further options of method hfgi3d, such as path.views"
    )
    seed: int = Field(303, description="of all random numbers")

    @model_validator(mode="after")
    def _no_other_start(self) -> TextureEdit:
        wrong = sorted(set(self.method_options) & set(_KEPT))
        if wrong:
            raise ValueError(
                f"method_options.{wrong[0]}: the coarse fit is the run's own; leave it out"
            )
        return self


class Texture(Editor[PluginConfig, TextureEdit]):
    """Paint on the photo, seen from any side."""

    name = "texture"
    summary = "an edited copy of the photo, carried to all sides"
    licence = "Apache-2.0"
    reference = "Xie et al., High-fidelity 3D GAN Inversion, CVPR 2023, section 4.3"
    Edit = TextureEdit
    needs_directions: ClassVar[bool] = False
    quick: ClassVar[bool] = False
    needs_capture: ClassVar[bool] = True

    def apply(
        self,
        subject: Subject,
        edit: TextureEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Tune the generator to the edited photo and to views that it's carried to."""
        capture = subject.capture
        if capture is None:
            raise InputError(
                "editor texture: the run's photo can't be had; put the capture back, or run again"
            )
        view = capture[[_row(capture, edit.frame)]]
        painted = replace(view, images=_painted(view, edit))
        inversion, generator = subject.inversion, subject.generator
        start = replace(inversion, offset={})
        context = Context.create(generator.device, edit.seed, init=start)
        options = merge(merge(_KEPT, {"final": {"steps": edit.steps}}), edit.method_options)
        method = load_method("hfgi3d", options, generator)
        with untuned(generator, inversion):
            found = method.invert(generator, painted, context)
        return self.edited(
            subject,
            edit,
            ws=found.ws,
            cameras=found.cameras,
            blend=found.blend,
            frames=(),
            offset={},
            generator_delta=found.generator_delta,
        )


def _row(capture: Capture, frame: str | None) -> int:
    if frame is None:
        return int(capture.front())
    if frame not in capture.names:
        raise ConfigError(
            f"option 'frame' of editor texture: the run inverted no '{frame}'"
            f"{suggest(frame, capture.names)}"
        )
    return capture.names.index(frame)


def _painted(view: Capture, edit: TextureEdit) -> Tensor:
    """Return the photo [1, 3, H, W] with the picture on it."""
    size = view.images.shape[-1]
    picture = read_picture(edit.picture, size)
    opacity = torch.full((), edit.strength)
    cover = opacity if edit.mask is None else opacity * read_mask(edit.mask, size)
    return torch.lerp(view.images, picture, cover.expand_as(picture))


@contextmanager
def untuned(generator: Generator, inversion: Inversion) -> Iterator[None]:
    """Take a run's tuning out of a generator for a while; afterwards it's back, to the last bit."""
    before = Snapshot(generator)
    state = generator.state_dict()
    with torch.no_grad():
        for name, delta in inversion.generator_delta.items():
            state[name] -= delta.to(state[name])
    generator.tuned = False
    try:
        yield
    finally:
        before.restore()
