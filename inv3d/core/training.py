"""The contract of whatever is trained for a generator: methods, estimators, and plugins to come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.latent import latent_statistics
from inv3d.core.plugin import Plugin, Presets
from inv3d.core.training_options import TrainingConfig

Learns = Literal["cameras", "latents"]


T = TypeVar("T", bound=TrainingConfig)


@dataclass(frozen=True)
class Batch:
    """Pictures that a step of a training sees.

    Attributes:
        capture: B pictures at the generator's resolution, on the device, with cameras where they're
            known; each of another head.
        ws: [B, num_ws, w_dim], the true latents of pictures that the generator made, or None.
        step: of the training, from 0.
    """

    capture: Capture
    ws: Tensor | None
    step: int


@dataclass(frozen=True)
class Lesson(Generic[T]):
    """All that losses are computed with.

    Attributes:
        network: that `build` returned, on the device; in training mode, or in eval mode where it's
            looked at by `check`.
        generator: frozen, in eval mode, on the device.
        training: options.
        context: builds losses by name, frozen, each once; its random numbers depend on seed, step
            and process alone.
        average: [1, w_dim], the generator's mean latent.
    """

    network: nn.Module
    generator: Generator
    training: T
    context: Context
    average: Tensor


@dataclass(frozen=True)
class Check:
    """How well networks do on pictures that they weren't trained with.

    Attributes:
        values: name -> numbers, of each picture or of all; lower is better.
        pictures: title -> [B, 3, H, W] in [-1, 1], a row of the page each.
    """

    values: Mapping[str, Tensor]
    pictures: Mapping[str, Tensor] = field(default_factory=dict)


class Trainable(Plugin, ABC, Generic[T]):
    """A plugin with networks that are trained for a generator before it's of use.

    A second base class beside that of the plugin's kind: `class Mine(Inverter[Config],
    Trainable[Training])`. `3dinv train` makes batches, asks for all losses of a step at once,
    lets the optimisers that they're for take a step, evaluates, keeps and resumes, and shares the
    work among processes. What is kept is a `Trained` file, which `find_trained` finds again.

    Attributes:
        Training: options of the training.
        training_presets: named sets of its options, as `presets` has of the plugin's.
        learns_from: what its pictures must have: "cameras" excludes pictures without labels,
            "latents" all but generated ones.
    """

    Training: ClassVar[type[TrainingConfig]] = TrainingConfig
    training_presets: ClassVar[Presets] = {}
    learns_from: ClassVar[frozenset[Learns]] = frozenset({"cameras"})

    @abstractmethod
    def build(self, generator: Generator) -> nn.Module:
        """Return the networks for a generator, untrained, on the CPU.

        They may be several as parts of one module, such as an encoder and a discriminator. Networks
        that only judge don't belong to it: `Context.loss` has them. The caller has seeded torch.
        """

    def begin(
        self, network: nn.Module, generator: Generator, training: T, rng: torch.Generator
    ) -> None:
        """Give fresh networks weights to begin with, such as those of a file; none by default.

        It isn't called where `training.begin` names an earlier training, which `kept` begins with.

        Args:
            network: that `build` returned.
            generator: that it was built for.
            training: options.
            rng: draws, on the CPU.
        """
        return None

    def optimizers(self, network: nn.Module, training: T) -> Mapping[str, Optimizer]:
        """Return the optimisers by name; one Adam by default. No two share a parameter."""
        return {"network": torch.optim.Adam(network.parameters(), lr=training.lr)}

    @abstractmethod
    def losses(self, lesson: Lesson[T], batch: Batch) -> Mapping[str, Metrics]:
        """Return the losses of a batch, with their graph, which may be shared.

        Every loss is a mean over the batch: the mean of the gradients of several processes is then
        that of all their pictures.

        Returns:
            Optimiser -> name -> scalar; "total" is what is back-propagated, to the optimiser's own
            parameters only. Optimisers that aren't named take no step.
        """

    def check(self, lesson: Lesson[T], batch: Batch) -> Check:
        """Return how well the networks do on held-out pictures; the losses by default."""
        made = self.losses(lesson, batch)
        return Check({n: v.detach() for metrics in made.values() for n, v in metrics.items()})

    def kept(self, network: nn.Module) -> nn.Module:
        """Return the part of the networks that is kept in the end; all by default."""
        return network

    def cameras(self, spec: GeneratorSpec, training: T, count: int, rng: torch.Generator) -> Camera:
        """Return cameras of generated pictures: yaw and pitch evenly within their ranges.

        Args:
            spec: of the generator.
            training: options.
            count: how many.
            rng: draws, on the CPU.
        """
        prior = spec.camera
        limits = [
            prior.yaw_deg if training.yaw_deg is None else training.yaw_deg,
            prior.pitch_deg if training.pitch_deg is None else training.pitch_deg,
        ]
        draw = 2 * torch.rand(count, 2, generator=rng) - 1
        yaw, pitch = (draw * torch.tensor(limits).deg2rad()).unbind(1)
        return prior.orbit(yaw, pitch)

    def latent_average(self, generator: Generator) -> Tensor:
        """Return the latent that others are counted from, [1, w_dim]; kept with the networks."""
        return latent_statistics(generator).mean[None]
