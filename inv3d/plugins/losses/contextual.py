"""The contextual loss: every place of the target is found somewhere in the picture."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from inv3d.core.loss import AnyLoss, Loss, Target
from inv3d.core.scene import Rendering
from inv3d.nn.resample import shrink
from inv3d.plugins.losses.features import features_of, load_features
from inv3d.plugins.losses.options import ContextualConfig

_NEAR, _FAINT = 1e-5, 1e-6


def contextual_distance(found: Tensor, wanted: Tensor, band: float, most: float) -> Tensor:
    """Return the contextual distance of feature maps, [N], from 0 where each place is found.

    Mechrez et al., The Contextual Loss, eq. 1 to 4: cosine distances of places, divided by that to
    the most similar place, as a softmax over the target's places; of these the largest for each of
    the target's places, averaged.

    Args:
        found: [N, C, h, w], of pictures.
        wanted: [N, C, h', w'], of targets.
        band: width h of the softmax.
        most: relative distances beyond it count as it.
    """
    x, y = found.flatten(2), wanted.flatten(2)
    middle = y.mean(2, keepdim=True)
    x, y = (_unit(part - middle) for part in (x, y))
    # [N, places of the picture, places of the target]
    distance = (1 - x.transpose(1, 2) @ y).clamp_min(0)
    relative = distance / (distance.amin(2, keepdim=True) + _NEAR)
    similar = ((1 - relative.clamp(-most, most)) / band).softmax(2)
    return -(similar.amax(1).mean(1) + _NEAR).log()


def _unit(places: Tensor) -> Tensor:
    """Scale features [N, C, P] to unit length; near 0, as of a flat picture, they fade to 0."""
    return places * (places.square().sum(1, keepdim=True) + _FAINT).rsqrt()


class Contextual(Loss[ContextualConfig, Tensor]):
    """Distance of pictures that needn't lie over one another, such as a face and its mirror image.

    Its cost grows with the fourth power of the maps' sides, which `places` bounds.
    """

    name = "contextual"
    summary = "difference of features that needn't be in the same places"
    licence = "Apache-2.0; features as the loss that tells them"
    reference = "The Contextual Loss (Mechrez et al., ECCV 2018), eq. 1 to 5; SPI (Yin et al. 2023)"
    Config = ContextualConfig
    replayable = True

    def __init__(self, config: ContextualConfig, network: AnyLoss) -> None:
        super().__init__(config)
        self.network = network

    @classmethod
    def create(cls, config: ContextualConfig) -> Self:
        """Build the loss with that whose features it compares.

        Raises:
            ConfigError: where that loss tells no features.
            WeightsError: where its weights can't be had.
        """
        return cls(config, load_features(config, cls.name))

    def features(self, images: Tensor) -> Tensor:
        """Return the layer's features [N, C, h, w], at most `places` a side.

        Raises:
            ConfigError: where there's no such layer.
        """
        return shrink(features_of(self.network, self.config, self.name, images), self.config.places)

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' features."""
        return self.features(target.images)

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return the contextual distance of every view, [N], one view at a time."""
        found = self.features(rendering.require("image"))
        options = self.config
        each = [
            contextual_distance(found[[i]], cache[[i]], options.band, options.most)
            for i in range(len(found))
        ]
        return torch.cat(each)
