"""e4e: a picture to latents that stay near one another, where a generator is easier to edit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from inv3d.core.errors import ConfigError
from inv3d.core.fit.loop import TOTAL, Metrics
from inv3d.core.generator import Generator, GeneratorSpec, neutral_condition
from inv3d.core.plugin import Presets
from inv3d.core.training import Batch, Lesson
from inv3d.core.training_options import TrainingConfig
from inv3d.nn.encoders.adversarial import discriminator_loss, encoder_loss, gradient_penalty
from inv3d.nn.encoders.e4e import Encoder4Editing
from inv3d.nn.encoders.latent_critic import LatentDiscriminator, LatentPool, spread
from inv3d.nn.encoders.published import Published
from inv3d.nn.ir_se import IR_SE50_WEIGHTS
from inv3d.plugins.methods.encoders.latents import ENCODER, LatentEncoder
from inv3d.plugins.methods.encoders.learning import adds
from inv3d.plugins.methods.encoders.options import E4EConfig, E4ETraining

CRITIC = "critic"


class E4ENetworks(nn.Module):
    """The encoder, and for its training a discriminator of latents with its memory."""

    def __init__(self, encoder: nn.Module, w_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.critic = LatentDiscriminator(w_dim)
        self.pool = LatentPool(w_dim)


class E4E(LatentEncoder[E4EConfig, E4ETraining]):
    """Encoder for Editing, for 3D-aware generators."""

    name = "e4e"
    summary = "editable W+ latents of the front view by one pass; trained for minihead"
    licence = "Apache-2.0"
    reference = "Tov et al., Designing an Encoder for StyleGAN Image Manipulation (e4e), 2021"
    Config = E4EConfig
    Training: ClassVar[type[TrainingConfig]] = E4ETraining
    weights = (IR_SE50_WEIGHTS,)
    training_presets: ClassVar[Presets] = {
        "paper": E4ETraining.plainly(
            losses={
                "mse": {"weight": 1.0, "resolution": 256},
                "lpips": {"weight": 0.8, "net": "alex"},
                "arcface": 0.5,
            },
            trunk=IR_SE50_WEIGHTS.name,
        )
    }

    def published(self, path: Path, spec: GeneratorSpec) -> Published:
        """Read an encoder that others published; where it's asked for its first latent alone, any
        number of them will do.
        """
        found = super().published(path, spec)
        return replace(found, num_ws=1) if self.config.deltas == 0 else found

    def asked(self, encoder: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return what the encoder is asked for: latents of which some differ from the first.

        Raises:
            ConfigError: where more are to differ than there are.
        """
        deltas = self.config.deltas
        if deltas == 0:
            return lambda images: encoder(images, deltas=0)[:, :1]
        assert isinstance(encoder, Encoder4Editing)
        most = len(encoder.styles) - 1
        if deltas is not None and deltas > most:
            raise ConfigError(
                f"option 'deltas': {deltas}, but of {most + 1} latents at most {most} can differ "
                f"from the first; give 0 to {most}, or leave it out"
            )
        return functools.partial(encoder, deltas=deltas)

    def build(self, generator: Generator) -> nn.Module:
        """Return the encoder and what trains it."""
        return E4ENetworks(super().build(generator), generator.spec.w_dim)

    def encoder(self, network: nn.Module) -> nn.Module:
        """Return the encoder among the networks."""
        assert isinstance(network, E4ENetworks)
        return network.encoder

    def optimizers(self, network: nn.Module, training: E4ETraining) -> Mapping[str, Optimizer]:
        """Return those of the encoder and of the discriminator of latents."""
        assert isinstance(network, E4ENetworks)
        critic = Adam(network.critic.parameters(), lr=training.critic_lr)
        return {**super().optimizers(network, training), CRITIC: critic}

    def deltas(self, lesson: Lesson[E4ETraining], step: int) -> int:
        """Return how many latents may differ from the first at a step."""
        training, most = lesson.training, lesson.generator.spec.num_ws - 1
        begun = training.begin is not None  # networks whose latents differ already
        if begun or not lesson.network.training or step >= training.steps:
            return most
        past = step - training.progressive
        return min(most, past // training.progressive_every + 1) if past >= 0 else 0

    def latents(self, lesson: Lesson[E4ETraining], batch: Batch) -> Tensor:
        """Return latents, of which so many differ from the first as the step lets."""
        encoder, deltas = self.encoder(lesson.network), self.deltas(lesson, batch.step)
        return self.encoded(lesson, batch, functools.partial(encoder, deltas=deltas))

    def losses(self, lesson: Lesson[E4ETraining], batch: Batch) -> Mapping[str, Metrics]:
        """Return the losses of the encoder and of the discriminator that keeps its latents near."""
        training, network = lesson.training, lesson.network
        assert isinstance(network, E4ENetworks)
        ws, deltas = self.latents(lesson, batch), self.deltas(lesson, batch.step)
        rows = ws[:, : deltas + 1].flatten(0, 1)
        extra = {
            "delta": (training.delta, spread(ws, deltas)),
            "near": (training.critic, encoder_loss(network.critic(rows))),
        }
        made = {ENCODER: adds(self.reconstruction(lesson, batch, ws), extra)}
        if training.critic and network.training:
            made[CRITIC] = self._critic_losses(lesson, network, rows, batch.step)
        return made

    def _critic_losses(
        self, lesson: Lesson[E4ETraining], network: E4ENetworks, rows: Tensor, step: int
    ) -> Metrics:
        """Return the losses of the discriminator of latents, whose real ones are mapped from z."""
        training, draws = lesson.training, lesson.context.state.generators["cpu"]
        real = self._mapped(lesson, len(rows)).requires_grad_(step % training.r1_every == 0)
        made = network.pool.exchange(rows, draws)
        scores = network.critic(real)
        loss = discriminator_loss(scores, network.critic(made))
        if not real.requires_grad:
            return {TOTAL: loss}
        penalty = gradient_penalty(scores, real, training.r1)
        return adds({TOTAL: loss}, {"r1": (float(training.r1_every), penalty)})

    @torch.no_grad()
    def _mapped(self, lesson: Lesson[E4ETraining], count: int) -> Tensor:
        """Return latents of the mapping network, [count, w_dim]."""
        generator = lesson.generator
        z = lesson.context.randn((count, generator.spec.z_dim), like=lesson.average)
        ws = generator.map(z, neutral_condition(generator, count))
        return ws[:, 0].clone()
