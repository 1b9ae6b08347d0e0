"""The low-pass filter [1, 3, 3, 1] of StyleGAN2 and the two places where it is applied.

Every network carries the filter as a buffer. All official ones carry this one, so images are
enlarged by the interpolation that it amounts to; `is_standard` finds networks with another one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = (1.0, 3.0, 3.0, 1.0)


def resample_filter() -> Tensor:
    """Return the normalised 4 x 4 filter, as it is stored in state dicts."""
    total = sum(TAPS) ** 2
    return torch.tensor([[a * b / total for b in TAPS] for a in TAPS])


def upsample(x: Tensor) -> Tensor:
    """Double the resolution: zeros in between, then the filter with gain 4.

    That is bilinear interpolation with zeros outside the image, which is faster than
    `upsample_plain`.

    Args:
        x: [N, C, H, W].
    """
    padded = F.pad(x, (1, 1, 1, 1))
    doubled = F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)
    return doubled[..., 2:-2, 2:-2]


def upsample_plain(x: Tensor) -> Tensor:
    """`upsample` as it's defined: zeros in between, then the filter with gain 4."""
    batch, channels, height, width = x.shape
    sparse = x.new_zeros(batch, channels, 2 * height, 2 * width)
    sparse[..., ::2, ::2] = x
    kernels = (resample_filter().to(x) * 4).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(sparse, (2, 1, 2, 1)), kernels, groups=channels)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter the output of a transposed convolution (kernel 3, stride 2) with gain 4.

    Args:
        x: [N, C, 2 H + 1, 2 W + 1].
        kernel: [4, 4].

    Returns:
        [N, C, 2 H, 2 W].
    """
    return _each_channel(x, kernel, padding=1)


def blur_backward(gradient: Tensor, kernel: Tensor) -> Tensor:
    """Gradient of `blur` to its input [N, C, 2 H + 1, 2 W + 1], from [N, C, 2 H, 2 W]."""
    return _each_channel(gradient, kernel.flip(0, 1), padding=2)


def _each_channel(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    channels = x.shape[1]
    kernels = (kernel * 4).to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv2d(x, kernels, padding=padding, groups=channels)


def is_standard(kernel: Tensor) -> bool:
    """Whether a stored filter is [1, 3, 3, 1]."""
    return kernel.shape == (4, 4) and torch.allclose(kernel.float().cpu(), resample_filter())
