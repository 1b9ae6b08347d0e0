"""The pictures of a capture: cut, matted, put on white."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inv3d.core.errors import InputError, UnsupportedError
from inv3d.io.decoding import decode
from inv3d.io.formats import PICTURES
from inv3d.io.masks import mask_levels
from inv3d.nn.face.matte import Matte
from inv3d.nn.face.square import Square, cut
from inv3d.photos.options import Matting
from inv3d.photos.sources import Shot

# what the network is unsure about, widened by part of the picture's side
_SURE, _WIDEN = (0.1, 0.9), 0.015


@dataclass(frozen=True)
class Cut:
    """A picture of the capture.

    Attributes:
        image: [3, S, S], 0 to 1.
        mask: [1, S, S], 0 to 1, or None.
        outside: share of it that lies outside of the frame.
    """

    image: Tensor
    mask: Tensor | None
    outside: float


class Cutter:
    """Cuts squares out of frames."""

    def __init__(self, size: int, matting: Matting, white: bool, masks: Path | None) -> None:
        """Get ready.

        Args:
            size: pixels a side of the pictures.
            matting: who makes the mattes.
            white: whether the person is put on white.
            masks: folder of mattes.
        """
        self.size, self.matting, self.white, self.masks = size, matting, white, masks
        self.network = Matte() if matting != "none" else None
        if matting == "fine":
            _matting_library()

    def cut(self, shot: Shot, square: Square) -> Cut:
        """Cut one out of a frame."""
        height, width = shot.pixels.shape[1:]
        outside = square.outside(width, height)
        image = cut(shot.pixels, square, self.size, fill=None).clamp(0, 1)
        mask = self._mask(shot, square, image)
        if mask is None:
            return Cut(image, None, outside)
        if outside:
            mask = mask * cut(torch.ones(1, height, width), square, self.size).clamp(0, 1)
        if self.white:
            image = image * mask + (1 - mask)
        return Cut(image, mask, outside)

    def _mask(self, shot: Shot, square: Square, image: Tensor) -> Tensor | None:
        given = self._given(shot)
        if given is not None:
            return cut(given, square, self.size).clamp(0, 1)
        if self.network is None:
            return None
        rough: Tensor = self.network(shot.pixels, square, self.size)
        return refined(image, rough) if self.matting == "fine" else rough

    def _given(self, shot: Shot) -> Tensor | None:
        """A matte of the user's own, or the picture's transparency, [1, H, W] bytes."""
        if self.masks is None:
            return shot.alpha
        stem = Path(shot.origin).stem
        names = [self.masks / f"{stem}{suffix}" for suffix in sorted(PICTURES)]
        path = next((path for path in names if path.is_file()), None)
        if path is None:
            raise InputError(f"--masks {self.masks}: has no {stem}.png; give one for every picture")
        levels = np.array(mask_levels(decode(path.read_bytes(), str(path)), str(path)).image)
        height, width = shot.pixels.shape[1:]
        if abs(levels.shape[0] * width / (levels.shape[1] * height) - 1) > 0.02:
            raise InputError(
                f"{path}: {levels.shape[1]}x{levels.shape[0]} pixels, its picture has "
                f"{width}x{height}; give mattes of the pictures' shape"
            )
        if not levels.any():
            raise InputError(
                f"{path}: black all over, so that nothing of its picture would be left; give a "
                "matte with the head in white"
            )
        resized = Image.fromarray(levels).resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized))[None]


def refined(image: Tensor, rough: Tensor) -> Tensor:
    """Return a matte [1, S, S] whose edge follows the hair, by closed-form matting.

    Args:
        image: [3, S, S], 0 to 1.
        rough: [1, S, S], 0 to 1.
    """
    from scipy.ndimage import binary_dilation

    estimate = _matting_library()
    levels = rough[0].double().numpy()
    width = max(1, math.ceil(_WIDEN * levels.shape[0]))
    unsure = binary_dilation((levels > _SURE[0]) & (levels < _SURE[1]), iterations=width)
    trimap = np.where(unsure, 0.5, (levels >= 0.5).astype(float))
    if not unsure.any() or trimap.min() > 0 or trimap.max() < 1:
        return rough
    alpha = estimate(image.permute(1, 2, 0).double().numpy(), trimap)
    return torch.from_numpy(np.asarray(alpha)).to(rough)[None]


def _matting_library() -> Any:
    try:
        from pymatting import estimate_alpha_cf
    except ImportError:
        raise UnsupportedError(
            "--matte fine: needs another package: pip install '3dinv[matting]', or take --matte "
            "network"
        ) from None
    return estimate_alpha_cf


def to_levels(picture: Tensor) -> np.ndarray:
    """Return bytes [S, S, C] of [C, S, S] in 0 to 1."""
    return (picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
