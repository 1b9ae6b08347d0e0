"""Photographs as cameras and phones leave them: turned, in any colour space, of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inv3d.io.decoding import decode, in_srgb, opened
from inv3d.io.images import alpha_of, to_rgb

LONGEST = 4096
# formats whose further pictures are later moments, rather than pages or previews
_MOVING = ("GIF", "WEBP", "PNG", "AVIF")
# what browsers make of an animation that doesn't say
_STEP_S = 0.1


@dataclass(frozen=True)
class Photo:
    """A picture in sRGB, upright as its EXIF data says.

    Attributes:
        pixels: [3, H, W] bytes, at most 4096 on the longer side; what's transparent is white.
        alpha: [1, H, W] bytes, or None where it's opaque.
        pages: how many pictures the file has.
        scale: pixels of it to one of the file, 1 unless that has more than 4096.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    pages: int = 1
    scale: float = 1.0


def read_photo(content: bytes, where: str) -> Photo:
    """Decode a photograph.

    Args:
        content: of the file.
        where: its path, for messages.

    Raises:
        InputError: where it's damaged or no picture, or is HEIC and nothing can decode that.
    """
    return _photo(decode(content, where), where)


def moments(content: bytes, where: str) -> int:
    """Return how many pictures an animation has; 1 for all other pictures.

    Raises:
        InputError: as `read_photo`.
    """
    with opened(content, where) as image:
        return int(getattr(image, "n_frames", 1)) if image.format in _MOVING else 1


def animation(content: bytes, where: str) -> Iterator[tuple[float, Photo]]:
    """Decode an animation, a frame at a time, with their seconds since it began.

    One that is cut short ends where it does.

    Raises:
        InputError: as `read_photo`.
    """
    time = 0.0
    with opened(content, where) as image:
        for index in range(int(getattr(image, "n_frames", 1))):
            try:
                image.seek(index)
                image.load()
            except (EOFError, OSError, SyntaxError, ValueError):
                if index == 0:
                    raise
                return
            yield time, _photo(image.copy(), where)
            time += float(image.info.get("duration") or 0) / 1000 or _STEP_S


def _photo(image: Image.Image, where: str) -> Photo:
    pages = image.info.get("frames", 1)
    alpha = alpha_of(image)
    image = to_rgb(in_srgb(image), where)
    scale = min(1.0, LONGEST / max(image.size))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        alpha = alpha.resize(size, Image.Resampling.BOX) if alpha else None
    return Photo(_bytes(image), None if alpha is None else _bytes(alpha), pages, scale)


def _bytes(image: Image.Image) -> Tensor:
    levels = np.array(image)
    levels = levels[..., None] if levels.ndim == 2 else levels
    return torch.from_numpy(levels).permute(2, 0, 1).contiguous()
