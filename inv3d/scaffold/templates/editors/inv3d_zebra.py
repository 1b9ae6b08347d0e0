"""An editor that pulls latents towards the mean, which takes extremes out of a head."""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Sequence

import torch
from pydantic import Field

from inv3d import (
    Context,
    Directions,
    Editor,
    Generator,
    Inversion,
    PluginConfig,
    Progress,
    Subject,
    WeightsError,
    latent_statistics,
)


class ZebraConfig(PluginConfig):
    """Options of the fit."""

    samples: int = Field(10_000, ge=2, description="draws for the mean of W")


class ZebraEdit(PluginConfig):
    """One edit."""

    strength: float = Field(0.3, description="0 leaves the head, 1 makes it the mean head")


class Zebra(Editor[ZebraConfig, ZebraEdit]):
    """Truncation, as an edit that can be taken back."""

    name = "zebra"
    summary = "pull the latents towards the mean of W"
    api = "1.0"
    licence = "Apache-2.0"
    reference = "the truncation trick of Karras et al., A Style-Based Generator Architecture"
    Config = ZebraConfig
    Edit = ZebraEdit

    def fit(self, generator: Generator, context: Context) -> Iteration[Progress, None, Directions]:
        """Find the mean; nothing is optimised, so nothing is yielded."""
        yield from ()
        mean = latent_statistics(generator, self.config.samples).mean.cpu()
        spec = generator.spec
        return Directions(self.name, type(generator).name, spec.fingerprint, {"mean": mean})

    def apply(
        self,
        subject: Subject,
        edit: ZebraEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Return the inversion with its latents pulled."""
        if directions is None:
            raise WeightsError("editor zebra: needs the directions that it was fitted to; fit it")
        directions.check_generator(subject.generator)
        ws = subject.inversion.ws
        mean = directions.tensors["mean"].to(ws)
        return self.edited(subject, edit, ws=torch.lerp(ws, mean.expand_as(ws), edit.strength))
