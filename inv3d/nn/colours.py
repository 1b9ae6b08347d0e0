"""Colours as networks of others want them."""

from __future__ import annotations

from torch import Tensor

# of ImageNet's colours in [0, 1]
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_colours(images: Tensor) -> Tensor:
    """Return pictures [N, 3, H, W] in [-1, 1] less ImageNet's mean, in its deviations."""
    mean, deviation = (images.new_tensor(v).view(3, 1, 1) for v in (_MEAN, _DEVIATION))
    return ((images + 1) / 2 - mean) / deviation
