"""Features that one loss takes from another one by name, so that it works with any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from inv3d.core.errors import ConfigError, suggest
from inv3d.core.loss import AnyLoss, load_loss
from inv3d.plugins.losses.options import FeatureConfig

Features = Callable[[Tensor], Any]
UNIT, AS_MADE = "features", "activations"


def load_features(config: FeatureConfig, owner: str) -> AnyLoss:
    """Build the loss whose features are compared.

    Args:
        config: its name, its options and the layer.
        owner: name of the loss that compares them.

    Raises:
        ConfigError: where that loss tells no features.
        WeightsError: where its weights can't be had.
    """
    network = load_loss(config.features, config.options, owner=f"option 'options' of loss {owner}")
    if not callable(getattr(network, UNIT, None)):
        raise ConfigError(
            f"option 'features' of loss {owner}: loss {config.features} tells no features; name "
            "one that does, such as headfeat or lpips"
        )
    if not config.unit and not callable(getattr(network, AS_MADE, None)):
        raise ConfigError(
            f"option 'unit' of loss {owner}: loss {config.features} tells features of unit length "
            "alone; leave it out"
        )
    return network


def features_of(network: AnyLoss, config: FeatureConfig, owner: str, images: Tensor) -> Tensor:
    """Return the layer's features [N, C, h, w] of images [N, 3, H, W] in [-1, 1].

    Args:
        network: that `load_features` returned.
        config: which layer, and of what length.
        owner: name of the loss that compares them.
        images: pictures.

    Raises:
        ConfigError: where there's no such layer.
    """
    tell: Features = getattr(network, UNIT if config.unit else AS_MADE)
    layers = tell(images)
    known = layers if isinstance(layers, Mapping) else {}
    if config.layer not in known:
        raise ConfigError(
            f"option 'layer' of loss {owner}: loss {config.features} has no layer "
            f"'{config.layer}'{suggest(config.layer, known)}"
        )
    features: Tensor = known[config.layer]
    return features


def sized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return maps [N, C, h, w] of another size, bilinear; themselves where they have it."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
