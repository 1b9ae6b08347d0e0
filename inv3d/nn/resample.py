"""Bringing images to the size that a network or a comparison wants."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F


def shrink(images: Tensor, size: int | None, how: Literal["area", "bilinear"] = "area") -> Tensor:
    """Return images resized to `size` pixels a side where they are larger.

    Args:
        images: [N, C, H, W].
        size: pixels; None leaves the images as they are.
        how: "bilinear" doesn't filter.
    """
    if size is None or max(images.shape[-2:]) <= size:
        return images
    corners = False if how == "bilinear" else None
    return F.interpolate(images, (size, size), mode=how, align_corners=corners)


def bilinear(images: Tensor, size: int, antialias: bool) -> Tensor:
    """Return images of exactly `size` pixels a side, bilinear.

    Args:
        images: [N, C, H, H].
        size: pixels.
        antialias: filter where images become smaller.
    """
    if images.shape[-1] == size:
        return images
    return F.interpolate(
        images,
        size=(size, size),
        mode="bilinear",
        align_corners=False,
        antialias=antialias and size < images.shape[-1],
    )


def resize(images: Tensor, size: int) -> Tensor:
    """Return images of exactly `size` pixels a side: area downwards, bilinear upwards."""
    if min(images.shape[-2:]) >= size:
        return shrink(images, size)
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
