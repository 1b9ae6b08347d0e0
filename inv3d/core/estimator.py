"""The contract of an estimator: pictures go in, the cameras that took them come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Self, TypeVar

from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.generator import Generator
from inv3d.core.plugin import Plugin

C = TypeVar("C", bound=PluginConfig)


class Estimator(Plugin, ABC, Generic[C]):
    """Tells from where pictures of a head were taken, in a generator's coordinates."""

    config: C

    @classmethod
    def create(cls, config: C) -> Self:
        """Build the estimator with its networks, on the CPU."""
        return cls(config)

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        """Return the camera of every picture.

        Args:
            images: [N, 3, H, W] in [-1, 1], cropped as the generator's training pictures are.
            generator: whose coordinates, focal length and radius the cameras have.

        Returns:
            N cameras.
        """
