"""Pictures of any size and mode, to tensors of the generator's size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inv3d.core.arguments import shown
from inv3d.core.errors import ConfigError, InputError

# an RGB picture, [H, W, 3]
Frame = NDArray[np.uint8]

_WHITE = (255, 255, 255)
EIGHT_BITS, TWELVE_BITS = 0xFF, 0xFFF


def check_frame(frame: Any, name: str) -> None:
    """See that something is a picture.

    Args:
        frame: that was given.
        name: for messages.

    Raises:
        ConfigError: where it isn't.
    """
    if not isinstance(frame, np.ndarray):
        found = shown(frame)
    elif frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        found = f"an array {list(frame.shape)} of {frame.dtype}"
    else:
        return
    raise ConfigError(
        f"{name}: found {found}, expected an array [H, W, 3] of uint8, as inv3d.colour_frames "
        "makes them of images"
    )


def to_rgb(image: Image.Image, where: str) -> Image.Image:
    """Convert any mode to 8-bit RGB; what's transparent becomes white.

    Raises:
        InputError: for floating-point pictures, whose range isn't known, and for numbers below 0.
    """
    if image.mode == "F":
        raise InputError(f"{where}: pixels of mode {image.mode}; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _of_16_bits(np.asarray(image).astype(np.int64), where).convert("RGB")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (*_WHITE, 255))
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise InputError(f"{where}: {error}; save it as RGB") from None


def _of_16_bits(numbers: NDArray[np.int64], where: str) -> Image.Image:
    """Return levels of grey; where no number is above 255 they're taken for 8 bits."""
    least, most = int(numbers.min()), int(numbers.max())
    if least < 0 or most > 0xFFFF:
        raise InputError(
            f"{where}: pixels from {least} to {most}, expected 0 to {0xFFFF}; save it with 8 or 16 "
            "bits"
        )
    levels = numbers if most <= EIGHT_BITS else (numbers / 257).round()
    return Image.fromarray(levels.astype(np.uint8))


def highest_of_16_bits(image: Image.Image) -> int:
    """Return the highest number in a picture of 16 bits; 0 where it has 8."""
    return int(np.asarray(image).max()) if image.mode.startswith("I") else 0


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
        InputError: where it has several channels, or numbers below 0.
    """
    image = crop_square(image)
    if not (image.mode == "L" or image.mode.startswith("I")):
        raise InputError(f"{where}: mode {image.mode}, expected one channel of 16 bits")
    counts = np.array(image).astype(np.float32)
    if counts.min() < 0:
        raise InputError(f"{where}: distances down to {counts.min():g}, expected 0 or more")
    return torch.from_numpy(counts)[None] * scale
