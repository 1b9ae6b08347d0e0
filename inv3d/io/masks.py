"""Masks of any kind: levels of grey, class numbers, colours of a palette, an alpha channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inv3d.io.images import alpha_of, crop_square, to_rgb

# a mask that gets no lighter than this has nothing that is rather head than background
_HALF = 128
# numbers above it are levels of grey rather than those of classes
_LARGEST_CLASS = 63
_MOST_COLOURS = 64
# a mask of fewer levels of grey, none of them nearly white, is no soft one
_FEW_LEVELS, _NEARLY_WHITE = 4, 250
# channels that differ by more make a colour
_GREY = 24
# of the rim between classes, as PASCAL VOC draws it: its number, its colour and its level here
_RIM, _RIM_COLOUR, _RIM_LEVEL = 255, (224, 224, 192), 127
# a smaller part of the picture is no head
_LEAST = 1e-3


@dataclass(frozen=True)
class Levels:
    """What a picture says as a mask, at its own size.

    Attributes:
        image: one channel of 8 bits, white is the head.
        taken: what was taken for the head where the picture holds class numbers or is transparent
            all over, for the notice; "" where it holds levels.
    """

    image: Image.Image
    taken: str = ""

    def changed(self, change: Callable[[Image.Image], Image.Image]) -> Levels:
        """Return the same of a changed picture."""
        return replace(self, image=change(self.image))


@dataclass(frozen=True)
class Mask:
    """A mask and what is odd about it.

    Attributes:
        weights: [1, size, size] in [0, 1], 1 is the head.
        oddity: "" for none; "classes" where class numbers or the colours of a transparent picture
            were taken for the head; "empty" where it's black all over; "dark" where nothing in it
            is more than half white; "speck" where hardly anything is.
        found: what it is that's odd, for the notice.
    """

    weights: Tensor
    oddity: str = ""
    found: str = ""


def mask_of(levels: Levels, size: int) -> Mask:
    """Make a mask of the square in the middle: area-averaged to the size wanted.

    Args:
        levels: white is the head, black the background.
        size: pixels a side.
    """
    square = crop_square(levels.image)
    numbers = np.asarray(square)
    highest, white = int(numbers.max()), float((numbers >= _HALF).mean())
    if square.width != size:
        square = square.resize((size, size), Image.Resampling.BOX)
    weights = torch.from_numpy(np.array(square))[None].float() / 255
    part = min(float(weights.mean()), white)
    if highest < _HALF:
        oddity = "dark" if highest else "empty"
        return Mask(weights, oddity, f"reaches {highest} of 255")
    if part < _LEAST:
        return Mask(weights, "speck", f"{100 * part:.2f} % of the square are white")
    return Mask(weights, "classes" if levels.taken else "", levels.taken)


def mask_levels(image: Image.Image, where: str) -> Levels:
    """Return what a picture says as a mask.

    Where it has an alpha channel, that channel is the mask. Where it holds classes (as numbers of a
    palette's colours, as colours on black, as one small number, or as several with a rim of 255),
    all but 0 are the head, and the rim that PASCAL VOC draws around objects counts half.

    Raises:
        InputError: for floating-point pictures.
    """
    alpha = alpha_of(image)
    if alpha is not None and np.asarray(alpha).any():
        return levels_of(alpha)
    if alpha is not None:
        return _of_transparent(image)
    if image.mode == "P":
        table = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        numbers = np.asarray(image)
        if _coloured(table[[n for n in np.unique(numbers) if n < len(table)]]):
            return _of_classes(numbers)
    if image.mode.startswith("I") and np.asarray(image).max() <= 0xFF:
        return levels_of(Image.fromarray(np.asarray(image).astype(np.uint8)))
    colours = to_rgb(image, where)
    pixels = np.asarray(colours)
    if not _coloured(pixels):
        return levels_of(colours.convert("L"))
    numbered, count = _numbered(pixels)
    if not count:
        return levels_of(colours.convert("L"))
    if numbered is None:
        taken = f"holds {count} colours, none of them black, and was taken for levels of grey"
        return Levels(colours.convert("L"), f"{taken}; give white for the head on black")
    return _of_classes(numbered)


def levels_of(image: Image.Image) -> Levels:
    """Return the levels of one channel of 8 bits.

    A single small number is that of the head; small ones with a rim of 255 are classes.
    """
    numbers = np.asarray(image)
    highest = int(numbers.max())
    if _rimmed(numbers):
        return _of_classes(numbers)
    several = bool(((numbers > 0) & (numbers < highest)).any())
    if several or not 0 < highest <= _LARGEST_CLASS or (highest > 1 and numbers.min() > 0):
        return Levels(image, _few_levels(numbers))
    return _of_classes(numbers, f"reaches {highest} of 255, {highest}")


def _few_levels(numbers: NDArray[np.uint8]) -> str:
    """Say that a mask on black has a few levels of grey, none of them white; "" for others."""
    background, *found = (int(n) for n in np.unique(numbers))
    if background or not 1 < len(found) <= _FEW_LEVELS or found[-1] >= _NEARLY_WHITE:
        return ""
    counted = ", ".join(map(str, found))
    return f"has no white, only {counted} of 255, which was taken as it is; the head must be white"


def _rimmed(numbers: NDArray[np.uint8]) -> bool:
    """Whether small numbers fill more than 255 does, and nothing lies between: classes and a rim.

    Of the soft edge of a white head it's less, and of a speck in faint noise there's no rim.
    """
    small, rim = (numbers > 0) & (numbers <= _LARGEST_CLASS), numbers == _RIM
    known = (numbers == 0) | small | rim
    return bool(known.all() and _LEAST <= rim.mean() < small.mean())


def _of_transparent(image: Image.Image) -> Levels:
    """Nothing of a transparent picture counts, unless its colours are black and white alone."""
    colours = np.asarray(image.convert("RGBA"))[..., :3]
    levels = colours.max(-1)
    if set(np.unique(colours)) == {0, 255} and bool((colours.min(-1) == levels).all()):
        taken = "is transparent all over, its white was taken for the head"
        return Levels(Image.fromarray(levels), taken)
    return Levels(Image.fromarray(np.zeros_like(levels)))


def _of_classes(numbers: NDArray[np.uint8], said: str = "") -> Levels:
    """All classes but 0 are the head; 255 is the rim around others."""
    found = [int(n) for n in np.unique(numbers) if n]
    levels = np.where(numbers > 0, 255, 0).astype(np.uint8)
    if len(found) > 1 and found[-1] == _RIM:
        levels[numbers == _RIM] = _RIM_LEVEL
        found.pop()
    if not found:
        return Levels(Image.fromarray(levels))
    named = f"holds {len(found)} class{'es' if len(found) > 1 else ''}, all but the background"
    return Levels(Image.fromarray(levels), f"{said or named} was taken for the head")


def _coloured(pixels: NDArray[np.uint8]) -> bool:
    """Whether any of RGB pixels [..., 3] isn't grey."""
    return bool((pixels.max(-1).astype(int) - pixels.min(-1) > _GREY).any())


def _numbered(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8] | None, int]:
    """Number the colours of a picture, black is 0; None without black. 0 colours are many."""
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, numbers = np.unique(packed, return_inverse=True)
    if len(colours) > _MOST_COLOURS:
        return None, 0
    if colours[0] != 0:
        return None, len(colours)
    numbered: NDArray[np.uint8] = numbers.reshape(packed.shape).astype(np.uint8)
    red, green, blue = _RIM_COLOUR
    numbered[packed == red << 16 | green << 8 | blue] = _RIM
    return numbered, len(colours)
