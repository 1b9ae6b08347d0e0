"""Masks that shrink, grow and fade: where one picture ends and another one begins."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# The kernels of image libraries for small sizes, in 256ths; larger ones are sampled Gaussians.
_SMALL = {
    1: (256.0,),
    3: (64.0, 128.0, 64.0),
    5: (16.0, 64.0, 96.0, 64.0, 16.0),
    7: (8.0, 28.0, 56.0, 72.0, 56.0, 28.0, 8.0),
    9: (4.0, 13.0, 30.0, 51.0, 60.0, 51.0, 30.0, 13.0, 4.0),
}


def erode(mask: Tensor, size: int) -> Tensor:
    """Return the smallest value of each square neighbourhood; beyond the picture is nothing.

    Args:
        mask: [N, C, H, W]; of bools or whole numbers it's made float32.
        size: side of the square, pixels; 1 leaves the mask as it is. An even one reaches one pixel
            further to the left and up.
    """
    mask = _floating(mask)
    if size <= 1:
        return mask
    before, after = size // 2, size - 1 - size // 2
    # rows and columns in turn: the same square, in 2 * size steps a pixel instead of size squared
    for pad, window in (((before, after, 0, 0), (1, size)), ((0, 0, before, after), (size, 1))):
        mask = -F.max_pool2d(F.pad(-mask, pad, value=-torch.inf), window, stride=1)
    return mask


def dilate(mask: Tensor, size: int) -> Tensor:
    """Return the largest value of each square neighbourhood; see `erode`."""
    return -erode(-_floating(mask), size)


def _floating(mask: Tensor) -> Tensor:
    return mask if mask.is_floating_point() else mask.float()


def gaussian_kernel(size: int, sigma: float | None = None) -> Tensor:
    """Return the weights of a Gaussian blur, [size] float64, with sum 1.

    Args:
        size: pixels, an odd number.
        sigma: standard deviation, pixels; where it isn't given 0.3 * ((size - 1) / 2 - 1) + 0.8,
            and the usual small kernels up to 9 pixels, as image libraries have it.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a blur of {size} pixels: expected an odd number")
    if sigma is None and size in _SMALL:
        return torch.tensor(_SMALL[size], dtype=torch.float64) / 256
    width = 0.3 * ((size - 1) / 2 - 1) + 0.8 if sigma is None else sigma
    away = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-away.square() / (2 * width**2))
    return weights / weights.sum()


def blur(images: Tensor, size: int, sigma: float | None = None) -> Tensor:
    """Return pictures blurred by a Gaussian, mirrored at the edge; differentiable.

    Args:
        images: [N, C, H, W]; where they are smaller than half the kernel, mirrored repeatedly.
        size: of the kernel, pixels, an odd number; 1 leaves the pictures as they are.
        sigma: see `gaussian_kernel`.
    """
    images = _floating(images)
    weights = gaussian_kernel(size, sigma).to(images)
    if size == 1:
        return images
    channels, reach = images.shape[1], size // 2
    across = weights.view(1, 1, 1, -1).expand(channels, -1, -1, -1)
    images = F.conv2d(_mirrored(images, reach, 3), across, groups=channels)
    return F.conv2d(_mirrored(images, reach, 2), across.transpose(2, 3), groups=channels)


def _mirrored(images: Tensor, reach: int, axis: int) -> Tensor:
    """Continue pictures beyond both edges of an axis, mirrored about the outermost pixels."""
    size = images.shape[axis]
    if reach < size:
        pad = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
        return F.pad(images, pad, mode="reflect")
    period = max(1, 2 * (size - 1))
    at = torch.arange(-reach, size + reach, device=images.device) % period
    return images.index_select(axis, torch.minimum(at, period - at))


def soft_mask(
    seen: Tensor,
    outline: Tensor | None = None,
    *,
    shrink: int = 3,
    shrink_outline: int = 51,
    feather: int = 21,
) -> Tensor:
    """Return where a warped picture is taken: what is seen, off the outline, with faded edges.

    HFGI3D's mask: what is seen is eroded, the outline of the surface is eroded further, both are
    multiplied and blurred.

    Args:
        seen: [N, 1, H, W] in [0, 1], or of bools.
        outline: [N, 1, H, W] in [0, 1], 1 where the surface is, seen or not; None for everywhere.
        shrink: pixels by which `seen` is eroded, see `erode`.
        shrink_outline: pixels by which the outline is eroded.
        feather: pixels of the blur, an odd number.

    Example:
        >>> import inv3d, torch
        >>> seen = torch.zeros(1, 1, 64, 64)
        >>> seen[..., 16:48, 16:48] = 1
        >>> mask = inv3d.soft_mask(seen, shrink=3, feather=9)
        >>> float(mask[0, 0, 32, 32]), float(mask[0, 0, 32, 4]), bool(mask[0, 0, 32, 17] < 0.7)
        (1.0, 0.0, True)
    """
    mask = erode(seen, shrink)
    if outline is not None:
        mask = mask * erode(outline, shrink_outline)
    return blur(mask, feather)
