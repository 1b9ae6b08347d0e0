"""Single pictures and masks that a user names, such as those of an edit."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from inv3d.core.errors import InputError
from inv3d.io.decoding import decode, in_srgb
from inv3d.io.images import image_tensor
from inv3d.io.masks import mask_levels, mask_of


def read_picture(path: Path, size: int) -> Tensor:
    """Return a picture [1, 3, size, size] in [-1, 1], cut to a square.

    Raises:
        InputError: where there's none, or it can't be read.
    """
    return image_tensor(in_srgb(decode(_content(path), str(path))), size, str(path))[None]


def read_mask(path: Path, size: int) -> Tensor:
    """Return a mask [1, 1, size, size] in [0, 1], white is 1, cut to a square.

    Raises:
        InputError: where there's none, it can't be read, or it's black all over.
    """
    mask = mask_of(mask_levels(decode(_content(path), str(path)), str(path)), size)
    if mask.oddity == "empty" or not bool(mask.weights.any()):
        raise InputError(
            f"{path}: the mask is black all over, so that nothing would be edited; paint the "
            "region white"
        )
    return mask.weights[None]


def _content(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give a picture") from None
