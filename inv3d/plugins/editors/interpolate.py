"""Interpolate: a head between two runs, or beyond one of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.editor import Directions, Editor, Subject
from inv3d.core.inversion import Inversion
from inv3d.core.moves import LayerRange


class InterpolateEdit(LayerRange):
    """One edit."""

    strength: float = Field(
        0.5, allow_inf_nan=False, description="0 is this head, 1 the other one; beyond, it goes on"
    )
    tuning: bool = Field(
        True,
        description="also go from one tuned generator to the other, else keep that of this run",
    )


class Interpolate(Editor[PluginConfig, InterpolateEdit]):
    """A head between two runs of one generator."""

    name = "interpolate"
    summary = "a head between two runs, or beyond one of them"
    licence = "Apache-2.0"
    Edit = InterpolateEdit
    needs_directions: ClassVar[bool] = False
    partners = (1, 1)
    strengths: ClassVar[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def apply(
        self,
        subject: Subject,
        edit: InterpolateEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Go linearly from latents, offsets and tuning of one run to those of the other.

        Each latent goes to the other run's latent for its camera.
        """
        own, other = subject.inversion, subject.partners[0].inversion
        layers = edit.layers(own.ws, "editor interpolate")
        target = other.ws_for(own.cameras, own.frames).to(own.ws)
        ws = own.ws.clone()
        ws[:, layers] = torch.lerp(own.ws, target, edit.strength)[:, layers]
        if not 0 <= edit.strength <= 1:
            warnings.warn(
                f"strength {edit.strength:g} lies outside of both heads (0 to 1), where the "
                "generator may not have seen any; expect damage far out",
                stacklevel=2,
            )
        offset = between(own.offset, _offset_for(other, own), edit.strength)
        delta = own.generator_delta
        if edit.tuning and (delta or other.generator_delta):
            delta = between(delta, other.generator_delta, edit.strength)
        return self.edited(subject, edit, ws=ws, offset=offset, generator_delta=delta)


def _offset_for(other: Inversion, own: Inversion) -> dict[str, Tensor]:
    """Return the other run's offsets for this run's latents."""
    places = None if len(other.ws) == 1 else other.places(own.cameras, own.frames)
    return {
        name: part if places is None or len(part) == 1 else places.blend(part)
        for name, part in other.offset.items()
    }


def between(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], fraction: float
) -> dict[str, Tensor]:
    """Go from named tensors to others; one that is missing on a side is zero there."""
    result: dict[str, Tensor] = {}
    for name in (*first, *(name for name in second if name not in first)):
        start, end = first.get(name), second.get(name)
        if start is not None and end is not None:
            result[name] = start + fraction * (end - start)
        elif start is not None:
            result[name] = (1 - fraction) * start
        elif end is not None:
            result[name] = fraction * end
    return result
