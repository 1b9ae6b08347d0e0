"""Pictures of any size and mode, to tensors of the generator's size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inv3d.core.errors import InputError

# an RGB picture, [H, W, 3]
Frame = NDArray[np.uint8]

_WHITE = (255, 255, 255)


def to_rgb(image: Image.Image, where: str) -> Image.Image:
    """Convert any mode to 8-bit RGB; what's transparent becomes white.

    Raises:
        InputError: for floating-point pictures, whose range isn't known.
    """
    if image.mode == "F" or (image.mode == "I" and np.asarray(image).max() > 0xFFFF):
        raise InputError(f"{where}: pixels of mode {image.mode}; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (*_WHITE, 255))
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise InputError(f"{where}: {error}; save it as RGB") from None


def crop_square(image: Image.Image) -> Image.Image:
    """Cut the largest square out of the middle."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def image_tensor(image: Image.Image, size: int, where: str) -> Tensor:
    """Convert a picture: centre crop to a square, Lanczos to the size wanted.

    Args:
        image: as decoded, of any mode.
        size: pixels a side.
        where: its path, for messages.

    Returns:
        [3, size, size] in [-1, 1].
    """
    image = crop_square(to_rgb(image, where))
    if image.width != size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return levels.float() / 127.5 - 1


def alpha_of(image: Image.Image) -> Image.Image | None:
    """Return the opacity of a picture, one channel of 8 bits; None where it's opaque all over."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema()[0] == 255 else alpha


def depth_tensor(image: Image.Image, scale: float, where: str) -> Tensor:
    """Convert a depth map, at its own size.

    Args:
        image: one channel of whole numbers, 0 where there's no surface.
        scale: world units a count.
        where: its path, for messages.

    Returns:
        [1, h, h] distance along the unit ray, world units.

    Raises:
        InputError: where it has several channels.
    """
    image = crop_square(image)
    if not (image.mode == "L" or image.mode.startswith("I")):
        raise InputError(f"{where}: mode {image.mode}, expected one channel of 16 bits")
    return torch.from_numpy(np.array(image).astype(np.float32))[None] * scale
