"""EG3D's decoder: a small network that reads a volume's features at a point."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.nn.layers import EqualLinear

Activation = Literal["none", "sigmoid", "lrelu"]


class Decoder(nn.Module):
    """Plane features to raw density and colour features.

    Args:
        in_channels: of the planes.
        out_channels: colour features; the first three are red, green, blue.
        hidden: width of the hidden layer.
        lr_multiplier: of both layers.
        activation: of the colours: "sigmoid" brings them to about [0, 1], "none" (PanoHead) leaves
            them as they are, "lrelu" is StyleGAN2's leaky ReLU, of slope 0.2 below zero and times
            sqrt(2).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: int = 64,
        lr_multiplier: float = 1.0,
        activation: Activation = "sigmoid",
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            EqualLinear(in_channels, hidden, lr_multiplier),
            nn.Softplus(),
            EqualLinear(hidden, 1 + out_channels, lr_multiplier),
        )
        self.out_channels = out_channels
        self.activation = activation

    def forward(self, features: Tensor, colour: bool = True) -> tuple[Tensor, Tensor | None]:
        """Return raw density [...] and colours [..., C] (None unless wanted)."""
        hidden = self.net[1](self.net[0](features))
        if not colour:
            return self.net[2](hidden, slice(0, 1))[..., 0], None
        raw, colours = self.net[2](hidden).split([1, self.out_channels], dim=-1)
        if self.activation == "none":
            return raw[..., 0], colours
        if self.activation == "lrelu":
            return raw[..., 0], F.leaky_relu(colours, 0.2) * math.sqrt(2)
        # The sigmoid is widened by 0.001 on both sides, after MipNeRF.
        return raw[..., 0], torch.sigmoid(colours) * 1.002 - 0.001
