"""Gradients to the weights of up-sampling convolutions, on CPUs.

The transposed convolution of kernel 3 and stride 2 adds every pixel of its input to nine of its
output, 2 p + k for k from 0 to 2 along either axis. The gradient to its weights is a product over
all pixels of the input: with channels side by side, a single one of nine times as many columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Where it was measured faster than oneDNN's.
CHANNELS = 128
# Pixels whose products are added together: their windows stay in cache.
PIXELS = 512


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether `weight_gradient` should be taken for x [N, I, h, w] and weights [O, I, 3, 3]."""
    single = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return single and weight.shape[-1] == 3 and min(weight.shape[:2]) >= CHANNELS


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient to weights [O, I, 3, 3] of a transposed convolution by their transpose, stride 2.

    Args:
        gradient: [N, O, 2 h + 1, 2 w + 1], best channels last.
        x: [N, I, h, w], best channels last.
    """
    pixels, spread = _rows(x), _rows(gradient)
    _, height, width, channels = pixels.shape
    outputs = spread.shape[-1]
    total = x.new_zeros(9 * outputs, channels)
    step = max(1, PIXELS // width)
    for source, target in zip(pixels, spread, strict=True):
        row, column, _ = target.stride()
        for start in range(0, height, step):
            part = source[start : start + step].reshape(-1, channels)
            windows = target[2 * start :].as_strided(
                (len(part) // width, width, 3, 3, outputs),
                (2 * row, 2 * column, row, column, 1),
            )
            total.addmm_(windows.reshape(len(part), -1).t(), part)
    return total.view(3, 3, outputs, channels).permute(2, 3, 0, 1)


def _rows(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
