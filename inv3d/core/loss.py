"""The contract of a loss: a difference between renderings and targets, one number a view."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from inv3d.core.config import PluginConfig
from inv3d.core.plugin import Plugin
from inv3d.core.scene import OutputName, Rendering

Cache = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Target:
    """What a loss compares with, for N views.

    Attributes:
        images: [N, 3, H, W] in [-1, 1], at the generator's resolution.
        masks: [N, 1, H, W] in [0, 1], or None.
        depths: [N, 1, h, w] distance along the unit ray, world units, or None.
        anchor: [num_ws, w_dim] (or [1, w_dim]), the latent that latent losses pull towards.
        noise: the generator's noise maps, where they are optimised.
    """

    images: Tensor
    masks: Tensor | None = None
    depths: Tensor | None = None
    anchor: Tensor | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)


class Loss(nn.Module, Plugin, ABC):
    """A difference between renderings and targets, one number a view.

    Attributes:
        needs: fields of a rendering that it reads.
        higher_is_better: whether more is better, where it serves as a metric.
        label: of its column in tables of metrics; made from the metric's name if empty.
        digits: of the metric, after the point.
        unit: of the metric, in words.
    """

    needs: ClassVar[tuple[OutputName, ...]] = ("image",)
    higher_is_better: ClassVar[bool] = False
    label: ClassVar[str] = ""
    digits: ClassVar[int] = 4
    unit: ClassVar[str] = ""

    @classmethod
    def create(cls, config: PluginConfig) -> Loss:
        """Build the loss with its networks, on the CPU."""
        return cls(config)

    def __init__(self, config: PluginConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def prepare(self, target: Target) -> Cache:
        """Compute once what the loss needs of the targets; leading dimension N views."""

    @abstractmethod
    def forward(self, rendering: Rendering, cache: Cache) -> Tensor:
        """Return the loss of every view, [N]."""

    def select(self, cache: Cache, views: slice) -> Cache:
        """Return the cache of some of the views; losses whose cache isn't by view override it."""
        if isinstance(cache, Tensor):
            return cache[views]
        return {name: value[views] for name, value in cache.items()}
