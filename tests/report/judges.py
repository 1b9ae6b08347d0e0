"""Losses of a plugin, as further metrics."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering

PLUGINS = (
    "losses:likeness=tests.report.judges:Likeness,losses:offset=tests.report.judges:Offset,"
    "losses:deep=tests.report.judges:Deep"
)


class LikenessConfig(PluginConfig):
    """Options of the likeness."""

    most: float = Field(1.0, description="what equal pictures get")


class Likeness(Loss[LikenessConfig, Tensor]):
    """The more, the better: `most` for equal pictures."""

    name = "likeness"
    summary = "likeness of two pictures"
    api = "1.0"
    Config = LikenessConfig
    higher_is_better = True
    label = "Likeness"
    digits = 1
    unit = "points"

    def prepare(self, target: Target) -> Tensor:
        return target.images

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        difference = (rendering.require("image") - cache).abs().mean((1, 2, 3))
        return self.config.most * (1 - difference)


class Offset(Likeness):
    """A distance that says nothing of itself."""

    name = "offset"
    higher_is_better = False
    label = ""
    digits = 4
    unit = ""

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        return (rendering.require("image") - cache).mean((1, 2, 3)).abs()


class Deep(Offset):
    """What reads more than pictures."""

    name = "deep"
    needs = ("image", "depth")
