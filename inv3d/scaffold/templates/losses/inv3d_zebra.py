"""A loss on the gradients of the picture."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from inv3d import Loss, PluginConfig, Rendering, Target


class ZebraConfig(PluginConfig):
    """Options of the loss."""

    step: int = Field(1, ge=1, description="distance of the pixels that are compared")


class Zebra(Loss[ZebraConfig, Tensor]):
    """Mean squared difference of horizontal and vertical gradients."""

    name = "zebra"
    summary = "mean squared difference of picture gradients"
    api = "1.0"
    licence = "Apache-2.0"
    Config = ZebraConfig
    # forward depends on its arguments alone, so that a GPU may record it
    replayable = True

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' gradients; called once, N views."""
        return self.gradients(target.images)

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return one number a view."""
        difference = self.gradients(rendering.require("image")) - cache
        return difference.square().mean((1, 2, 3))

    def gradients(self, images: Tensor) -> Tensor:
        """Return [N, 6, h, w] of images [N, 3, H, W]."""
        step = self.config.step
        corner = images[..., :-step, :-step]
        across, down = images[..., :-step, step:], images[..., step:, :-step]
        return torch.cat([across - corner, down - corner], dim=1)
