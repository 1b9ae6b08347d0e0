"""3 x 3 convolutions on GPUs by Winograd's F(4 x 4, 3 x 3): the functions of `winograd`.

Triton programs transform tiles, cuBLAS multiplies. That pays in full single precision alone, which
has no tensor cores: there a quarter of the multiplications is left. Where rounding to TF32 is
allowed, cuDNN's direct convolutions are faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.launch import block, on, tiles
from inv3d.nn.modulated.winograd import fits, kernels, square
from inv3d.nn.precision import is_exact
from inv3d.nn.trial import error_of, may_run, passed

# Channels, pixels a side and products of a direct convolution (without its nine taps) from which on
# it is faster than cuDNN on an H100.
CHANNELS, SIDE, WORK = 64, 16, 150_000_000
# Numbers of the transformed tiles that are made at a time, 256 MiB; of input and output each.
BAND = 1 << 26
# Numbers a program has of each of 36 planes, and channels of these.
_NUMBERS, _CHANNELS = 256, 64
# Largest error of the trial in units of the largest number; some 3e-6 are this algorithm's.
_TOLERANCE = 1e-4


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution should go this way, as `winograd.is_faster` for CPUs.

    That is in exact single precision on a GPU on which the programs passed a trial.
    """
    if x.dtype != torch.float32 or not fits(x, weight, CHANNELS, SIDE):
        return False
    if x.numel() * len(weight) < WORK:
        return False
    if not may_run(x) or not is_exact():
        return False
    key = ("winograd", x.device)
    return passed(key, "Winograd's convolution", lambda: fault_of(x.device))


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """`F.conv2d(x, weight, padding=1)`; see `winograd.conv3x3`."""
    return _convolve(x, kernels(weight, flipped=False).transpose(1, 2))


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Gradient of `conv3x3` to its input; see `winograd.input_gradient`."""
    return _convolve(gradient, kernels(weight, flipped=True))


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient of `conv3x3` to its weights; see `winograd.weight_gradient`."""
    from inv3d.nn.modulated import winograd_programs

    x, gradient = _last(x), _last(gradient)
    outputs, inputs = gradient.shape[1], x.shape[1]
    total = x.new_zeros(36, outputs, inputs)
    for first, count in _bands(x, outputs):
        windows, spread = (x.new_empty(36, count, channels) for channels in (inputs, outputs))
        _run(winograd_programs.windows, x, x, windows, first)
        _run(winograd_programs.spread, gradient, gradient, spread, first)
        total.baddbmm_(spread.transpose(1, 2), windows)
        del windows, spread  # before the next ones are made
    kernel = total.view(36, -1).t() @ square("kernel", x)
    return kernel.view(outputs, inputs, 3, 3)


def _convolve(x: Tensor, transformed: Tensor) -> Tensor:
    """Convolve with transformed kernels [36, I, O]."""
    from inv3d.nn.modulated import winograd_programs

    x, outputs = _last(x), transformed.shape[2]
    shape = (len(x), outputs, *x.shape[2:])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for first, count in _bands(x, outputs):
        windows = x.new_empty(36, count, x.shape[1])
        _run(winograd_programs.windows, x, x, windows, first)
        _run(winograd_programs.pixels, y, torch.bmm(windows, transformed), y, first)
        del windows  # before the next ones are made
    return y


def _run(program: Any, maps: Tensor, source: Tensor, target: Tensor, first: int) -> None:
    """Go through tiles from a first one on, of maps [N, C, H, W] that are source or target."""
    _, channels, height, width = maps.shape
    count = (target if maps is source else source).shape[1]
    part = min(_CHANNELS, block(channels))
    most = _NUMBERS // part
    with on(maps):
        program[(tiles(count, most), tiles(channels, part))](
            source, target, first, count, height, width, channels, BT=most, BC=part
        )


def _bands(x: Tensor, outputs: int) -> Iterator[tuple[int, int]]:
    """Yield first and number of the tiles of [N, I, H, W] that are taken together."""
    images, inputs, height, width = x.shape
    total = images * (height // 4) * (width // 4)
    step = max(1, BAND // (36 * max(inputs, outputs)))
    for first in range(0, total, step):
        yield first, min(step, total - first)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def fault_of(device: torch.device) -> str | None:
    """Compare with plain torch in double precision; None where all agrees."""
    rng = torch.Generator().manual_seed(0)
    x, weight, gradient = (
        torch.randn(shape, generator=rng, dtype=torch.float64, device="cpu")
        for shape in ((2, 70, 8, 12), (36, 70, 3, 3), (2, 36, 8, 12))
    )
    right = [
        F.conv2d(x, weight, padding=1),
        *torch.ops.aten.convolution_backward(
            gradient, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
        )[:2],
    ]
    x, weight, gradient = (t.float().to(device) for t in (x, weight, gradient))
    made = conv3x3(x, weight), input_gradient(gradient, weight), weight_gradient(gradient, x)
    for name, found, expected in zip(("y", "dx", "dw"), made, right, strict=True):
        off = error_of(found, expected)
        if not off <= _TOLERANCE:
            return f"the {name} is off by {off:.1e} of its largest value on {device}"
    return None
