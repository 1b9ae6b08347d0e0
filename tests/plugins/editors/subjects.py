"""What editors are tried on: the toy generator, its inversions, fitting to the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from inv3d.core.config import PluginConfig, build_config
from inv3d.core.editor import AnyEditor, Directions, Editor, Subject
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Made
from inv3d.core.latent import latent_statistics
from inv3d.core.moves import LayerRange
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_latents

LAYERS, W_DIM = 4, 8


class KnownToy(ToyGenerator):
    """A toy that knows two things of its latents: a number of w, and one that is often zero."""

    api = "1.0"

    def attributes(self, z: Tensor) -> dict[str, Tensor]:
        """Return the first number of w, and what of the second lies above its mean."""
        w = self.map(z)[:, 0]
        return {"size": w[:, 0], "shine": (w[:, 1] - w[:, 1].mean()).clamp_min(0)}


class CalmEdit(LayerRange):
    strength: float = Field(0.5, description="0 is the head, 1 the mean of all")


class Calm(Editor[PluginConfig, CalmEdit]):
    """An editor of somebody else's, by the contract alone; docs/plugins.md has it."""

    name = "calm"
    api = "1.0"
    Edit = CalmEdit
    needs_directions = False

    def apply(
        self,
        subject: Subject,
        edit: CalmEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Go towards the mean."""
        mean = latent_statistics(subject.generator, 2000).mean.cpu()

        def move(ws: Tensor) -> Tensor:
            layers, moved = edit.layers(ws, "editor calm"), ws.clone()
            moved[:, layers] = ws[:, layers].lerp(mean, edit.strength)
            return moved

        return self.moved(subject, edit, move)


def toy(seed: int = 0) -> KnownToy:
    """Return a generator."""
    return KnownToy(ToyConfig(seed=seed)).requires_grad_(False)


def subject_of(
    generator: Generator,
    latents: int = 1,
    seed: int = 0,
    *,
    partners: tuple[Subject, ...] = (),
    **changes: Any,
) -> Subject:
    """Return a subject whose latents differ where there are several.

    Args:
        generator: toy.
        latents: how many.
        seed: of the latents.
        partners: other subjects.
        changes: of the inversion.
    """
    views = torch.linspace(0.6, -0.6, latents) if latents > 1 else torch.zeros(1)
    inversion = Inversion(
        ws=toy_latents(generator, latents, seed, motion=0.5 if latents > 1 else 0.0),
        cameras=generator.spec.camera.orbit(views),
        generator="toy",
        fingerprint=generator.spec.fingerprint,
        history=(Made("method", "multilatent"),),
        **changes,
    )
    return Subject(generator, inversion, partners=partners)


def fitted(editor: AnyEditor, generator: Generator, seed: int = 1) -> tuple[Directions, list[str]]:
    """Fit an editor; return its directions and the stages of its steps."""
    steps, stages = editor.fit(generator, Context.create(seed=seed)), []
    while True:
        try:
            stages.append(next(steps).stage)
        except StopIteration as end:
            return end.value, stages


def edit_of(editor: AnyEditor, **options: Any) -> Any:
    """Return the options of an edit."""
    return build_config(editor.Edit, options, f"editor {editor.name}")
