"""The contract of a method that is trained, and the record of a training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.errors import WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.inverter import Inverter
from inv3d.core.weights.tensors import (
    check_finite,
    load_state,
    read_tensors,
    under_prefix,
    write_tensors,
)

KIND = "trained"
_STATE, _LATENT_AVG = "state/", "latent_avg"
C = TypeVar("C", bound=PluginConfig)


class TrainingConfig(PluginConfig):
    """Options of every training; a method adds its own."""

    steps: int = Field(default=100_000, ge=0, description="training steps")
    batch: int = Field(default=8, ge=1, description="pictures a step")
    lr: float = Field(default=1e-4, gt=0, description="learning rate")


@dataclass(frozen=True)
class Batch:
    """Pictures that a step of a training sees.

    Attributes:
        capture: B pictures, with cameras where they're known; not of one head.
        ws: [B, num_ws, w_dim], the true latents of pictures that the generator made, or None.
        step: of the training, from 0.
    """

    capture: Capture
    ws: Tensor | None
    step: int


class Trainable(Inverter[C]):
    """A method with networks that are trained for a generator before it can invert.

    The loop is 3dinv's: it makes batches, asks for the losses of every optimiser that is due,
    back-propagates "total" and lets that optimiser take a step; it writes checkpoints, resumes and
    shares the work among devices.

    Attributes:
        Training: options of the training.
    """

    Training: ClassVar[type[TrainingConfig]] = TrainingConfig

    @abstractmethod
    def build(self, spec: GeneratorSpec) -> nn.Module:
        """Return the networks for a generator, untrained, on the CPU.

        They may be several as parts of one module, such as an encoder and a discriminator.
        """

    def optimizers(self, network: nn.Module, training: TrainingConfig) -> Mapping[str, Optimizer]:
        """Return the optimisers by name, in the order of their steps; one Adam by default."""
        return {"network": torch.optim.Adam(network.parameters(), lr=training.lr)}

    def due(self, optimizer: str, step: int) -> bool:
        """Whether an optimiser takes a step at a training step, such as every 16th."""
        return True

    @abstractmethod
    def losses(
        self,
        network: nn.Module,
        generator: Generator,
        batch: Batch,
        optimizer: str,
        context: Context,
    ) -> Metrics:
        """Return the losses of a batch for one optimiser, with their graph.

        Args:
            network: that `build` returned, on the device.
            generator: frozen, on the device.
            batch: on the device.
            optimizer: name of the optimiser that will take a step.
            context: losses by name, random numbers.

        Returns:
            Name -> scalar; "total" is what is back-propagated.
        """

    def latent_average(self, generator: Generator, context: Context) -> Tensor | None:
        """Return a latent [num_ws or 1, w_dim] to keep with the networks, or None."""
        return None


@dataclass(frozen=True)
class Trained:
    """Networks that were trained for a generator, in a file of their own.

    Attributes:
        method: name of the plugin.
        generator: name of the generator plugin.
        fingerprint: of the generator.
        tensors: state dict of the networks.
        latent_avg: [num_ws or 1, w_dim] that latents are counted from, or None.
        options: of the method.
        training: options of the training.
        steps: of training behind it.
    """

    method: str
    generator: str
    fingerprint: str
    tensors: Mapping[str, Tensor]
    latent_avg: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0

    def load_into(self, network: nn.Module, path: Path | str) -> None:
        """Put the tensors into networks.

        Raises:
            MismatchError: naming the first tensor that doesn't fit; `path` is named in it.
        """
        load_state(network, self.tensors, path)

    def misfit(self, generator: Generator) -> str:
        """Say that the networks were trained for another generator; empty where they fit."""
        if generator.spec.fingerprint == self.fingerprint:
            return ""
        return (
            f"{self.method} was trained for generator {self.generator}, {self.fingerprint}, but "
            f"this one is {generator.spec.name}, {generator.spec.fingerprint}: expect poor results"
        )

    def save(self, path: Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        tensors = {f"{_STATE}{name}": value for name, value in self.tensors.items()}
        if self.latent_avg is not None:
            tensors[_LATENT_AVG] = self.latent_avg
        metadata = {
            "kind": KIND,
            "method": self.method,
            "generator": self.generator,
            "fingerprint": self.fingerprint,
            "options": dict(self.options),
            "training": dict(self.training),
            "steps": self.steps,
        }
        write_tensors(path, tensors, metadata)

    @staticmethod
    def load(path: Path) -> Trained:
        """Read a file.

        Raises:
            WeightsError: where it's missing, damaged, or holds anything else.
        """
        tensors, metadata = read_tensors(path)
        kinds: dict[str, type] = {"options": dict, "training": dict, "steps": int}
        kinds |= dict.fromkeys(("method", "generator", "fingerprint"), str)
        whole = all(isinstance(metadata.get(name), kind) for name, kind in kinds.items())
        if metadata.get("kind") != KIND or not whole:
            raise WeightsError(
                f"{path}: holds no trained networks; give a file that training wrote"
            )
        check_finite(tensors, path)
        return Trained(
            method=metadata["method"],
            generator=metadata["generator"],
            fingerprint=metadata["fingerprint"],
            tensors=under_prefix(tensors, _STATE),
            latent_avg=tensors.get(_LATENT_AVG),
            options=metadata["options"],
            training=metadata["training"],
            steps=metadata["steps"],
        )
