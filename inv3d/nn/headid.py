"""Two small identity networks for whole heads, of different families.

`HeadIDA` (residual, PReLU, batch norm, 128 px) serves losses, `HeadIDB` (plain convolutions,
group norm, 96 px) serves metrics, so that what is measured isn't what was optimised.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.nn.resample import resize

EMBEDDING = 128
NetworkName = Literal["a", "b"]


class HeadNetwork(nn.Module):
    """Shared interface: a list of stages, whose outputs are the features, and a head."""

    size: int
    stages: nn.ModuleList
    head: nn.Module

    def features(self, images: Tensor) -> list[Tensor]:
        """Return what the stages see, from fine to coarse, each [N, C, h, w].

        Args:
            images: [N, 3, H, W] in [-1, 1], the whole picture, any size.
        """
        x = resize(images, self.size)
        layers = []
        for stage in self.stages:
            x = stage(x)
            layers.append(x)
        return layers

    def forward(self, images: Tensor) -> Tensor:
        """Return unit embeddings [N, 128] of images [N, 3, H, W] in [-1, 1]."""
        return F.normalize(self.head(self.features(images)[-1]), dim=1)


class Residual(nn.Module):
    """Convolution - norm - PReLU - convolution - norm, added to a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.activation = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C', h / stride, w / stride]."""
        activated: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return activated


class HeadIDA(HeadNetwork):
    """Residual network; the head weighs every place of the last map on its own."""

    size = 128
    widths = (24, 40, 72, 128, 192)

    def __init__(self) -> None:
        super().__init__()
        first = self.widths[0]
        stem = nn.Sequential(
            nn.Conv2d(3, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        pairs = zip(self.widths, self.widths[1:], strict=False)
        self.stages = nn.ModuleList([stem, *(Residual(a, b, 2) for a, b in pairs)])
        last = self.widths[-1]
        side = self.size // 2 ** len(self.widths)
        self.head = nn.Sequential(
            nn.Conv2d(last, last, side, groups=last, bias=False),
            nn.BatchNorm2d(last),
            nn.Flatten(),
            nn.Linear(last, EMBEDDING, bias=False),
            nn.BatchNorm1d(EMBEDDING),
        )


def _plain(inputs: int, *outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in outputs:
        layers += [nn.Conv2d(inputs, width, 3, 1, 1), nn.GroupNorm(width // 8, width), nn.SiLU()]
        inputs = width
    return nn.Sequential(*layers, nn.AvgPool2d(2))


class _Pooled(nn.Module):
    """Means and maxima over space, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class HeadIDB(HeadNetwork):
    """Plain convolutions without shortcuts; the head forgets places."""

    size = 96

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                _plain(3, 32),
                _plain(32, 64),
                _plain(64, 96, 96),
                _plain(96, 128, 128),
                _plain(128, 160, 160),
            ]
        )
        self.head = nn.Sequential(
            _Pooled(),
            nn.LayerNorm(320),
            nn.Linear(320, EMBEDDING, bias=False),
            nn.BatchNorm1d(EMBEDDING),
        )


def build_headid(network: NetworkName) -> HeadNetwork:
    """Return one of the two networks with fresh weights."""
    return HeadIDA() if network == "a" else HeadIDB()


def unit_channels(layer: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Scale every place of [N, C, h, w] to unit length over channels; near 0 it fades to 0."""
    return layer * (layer.square().sum(1, keepdim=True) + epsilon).rsqrt()
