"""The contract of an estimator: pictures go in, the cameras that took them come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig, build_config
from inv3d.core.generator import Generator
from inv3d.core.plugin import Plugin
from inv3d.core.registry.discovery import registry

C = TypeVar("C", bound=PluginConfig)


class Estimator(nn.Module, Plugin, ABC, Generic[C]):
    """Tells from where pictures of a head were taken, in a generator's coordinates.

    Its networks are parts of it, so that a method can go on optimising their parameters.
    """

    config: C

    @classmethod
    def create(cls, config: C) -> Self:
        """Build the estimator with its networks, on the CPU."""
        return cls(config)

    def __init__(self, config: C) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        """Return the camera of every picture; gradients reach the networks where they're wanted.

        Args:
            images: [N, 3, H, W] in [-1, 1], on the estimator's device, cropped as the generator's
                training pictures are.
            generator: whose coordinates, focal length and radius the cameras have.

        Returns:
            N cameras.
        """


AnyEstimator = Estimator[Any]


def load_estimator(
    name: str, options: Mapping[str, Any] | None = None, *, device: torch.device | str = "cpu"
) -> AnyEstimator:
    """Build an estimator by name: frozen, in eval mode, on a device.

    Args:
        name: of the plugin.
        options: nested plain values; its defaults if None.
        device: where it goes.

    Raises:
        PluginError: where the name is unknown.
        ConfigError: where an option is unknown or out of range.
        WeightsError: where a weight file that it needs is missing or damaged.
    """
    kind: type[AnyEstimator] = registry().load("estimators", name)
    estimator = kind.create(build_config(kind.Config, options or {}, f"estimator {name}"))
    return estimator.to(device).eval().requires_grad_(False)
