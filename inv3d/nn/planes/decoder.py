"""EG3D's decoder: a small network that reads a volume's features at a point."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.nn.layers import LRELU_GAIN, LRELU_SLOPE, EqualLinear

Activation = Literal["none", "sigmoid", "lrelu"]

# By how much the sigmoid reaches beyond [0, 1] on both sides, after MipNeRF.
WIDER = 0.001
# By what the leaky ReLU's colours are lowered, which brings their mean near zero.
LRELU_SHIFT = 0.5


class Decoder(nn.Module):
    """Plane features to raw density and colour features.

    Args:
        in_channels: of the planes.
        out_channels: colour features; the first three are red, green, blue.
        hidden: width of the hidden layer.
        lr_multiplier: of both layers.
        activation: of the colours: "sigmoid" brings them to about [0, 1], "none" (PanoHead) leaves
            them as they are, "lrelu" is StyleGAN2's leaky ReLU, of slope 0.2 below zero and times
            sqrt(2), less 0.5.
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
        return raw[..., 0], activate(colours, self.activation)


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Return the colours that an activation makes of the last layer's output, of any shape."""
    if activation == "none":
        return x
    if activation == "lrelu":
        return F.leaky_relu(x, LRELU_SLOPE) * LRELU_GAIN - LRELU_SHIFT
    return torch.sigmoid(x) * (1 + 2 * WIDER) - WIDER


def activation_slope(colours: Tensor, activation: Activation) -> Tensor | float:
    """Return the derivative of `activate` where it returned these colours, of their shape."""
    if activation == "none":
        return 1.0
    if activation == "lrelu":
        steep = colours.new_full((), LRELU_GAIN)
        return torch.where(colours > -LRELU_SHIFT, steep, LRELU_GAIN * LRELU_SLOPE)
    inner = (colours + WIDER) / (1 + 2 * WIDER)
    return (inner - inner * inner) * (1 + 2 * WIDER)
