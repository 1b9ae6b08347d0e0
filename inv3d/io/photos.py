"""Photographs as cameras and phones leave them: turned, in any colour space, of any size."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from inv3d.core.errors import InputError
from inv3d.io.images import alpha_of, decode, to_rgb

LONGEST = 4096
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class Photo:
    """A picture in sRGB, upright as its EXIF data says.

    Attributes:
        pixels: [3, H, W] bytes, at most 4096 on the longer side; what's transparent is white.
        alpha: [1, H, W] bytes, or None where it's opaque.
    """

    pixels: Tensor
    alpha: Tensor | None = None


def read_photo(content: bytes, where: str) -> Photo:
    """Decode a photograph.

    Args:
        content: of the file.
        where: its path, for messages.

    Raises:
        InputError: where it's damaged or no picture, or is HEIC and nothing can decode that.
    """
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        _learn_heif(where)
    image = decode(content, where)
    alpha = alpha_of(image)
    image = to_rgb(_in_srgb(image), where)
    if max(image.size) > LONGEST:
        factor = LONGEST / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        alpha = alpha.resize(size, Image.Resampling.BOX) if alpha else None
    return Photo(_bytes(image), None if alpha is None else _bytes(alpha))


def _learn_heif(where: str) -> None:
    """Let Pillow read HEIC."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise InputError(
            f"{where}: a HEIC picture, which needs another package: pip install '3dinv[heic]', "
            "or save it as JPEG"
        ) from None
    register_heif_opener()


def _in_srgb(image: Image.Image) -> Image.Image:
    """Convert from the colour space that the picture names; as it is where it names none."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a profile of another colour model, or a damaged one
    return converted or image


def _bytes(image: Image.Image) -> Tensor:
    levels = np.array(image)
    levels = levels[..., None] if levels.ndim == 2 else levels
    return torch.from_numpy(levels).permute(2, 0, 1).contiguous()
