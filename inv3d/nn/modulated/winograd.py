"""3 x 3 convolutions with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3), on CPUs.

Every tile of 6 x 6 input pixels gives 4 x 4 output pixels (arXiv 1509.09308): both and the kernel
are transformed by constant matrices, between which there are 36 products over the channels. Here
all of it is matrix products of bands of tiles that stay in cache: constant matrices of 36 x 36 and
16 x 36 numbers cost little beside products over 128 channels or more. On GPUs: `winograd_triton`.

Results differ from those of a direct convolution by a root mean square of 2e-6 to 4e-6 of theirs in
single precision, ten times as much as two direct ones differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor

# F(4, 3) of points 0, 1, -1, 2, -2 and infinity, along one axis: input, kernel and output
_INPUT = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
_KERNEL = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

# From so many channels and so many pixels a side on it was faster than oneDNN's convolutions, on
# processors of Intel, whose gain is the smaller one.
CHANNELS, SIDE = 128, 32
# Numbers of one of a band's 36 planes, so that those of input and output share a cache.
BAND = 1 << 15

_allowed: ContextVar[bool] = ContextVar("winograd", default=True)


@contextmanager
def winograd(allowed: bool) -> Iterator[None]:
    """Allow convolutions that are made here to go this way, or don't; theirs backwards follow."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution of x [N, I, H, W] with weights [O, I, k, k] should go this way.

    That is on a CPU in single or double precision, where it fits and is allowed.
    """
    known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return known and fits(x, weight, CHANNELS, SIDE)


def fits(x: Tensor, weight: Tensor, channels: int, side: int) -> bool:
    """Whether this algorithm is allowed, and has a convolution of so many channels and pixels."""
    height, width = x.shape[2:]
    return (
        _allowed.get()
        and weight.shape[2:] == (3, 3)
        and height % 4 == width % 4 == 0
        and min(height, width) >= side
        and min(weight.shape[:2]) >= channels
    )


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """`F.conv2d(x, weight, padding=1)` of maps whose sides are multiples of 4.

    Args:
        x: [N, I, H, W], best channels last.
        weight: [O, I, 3, 3].

    Returns:
        [N, O, H, W], channels last.
    """
    return _convolve(x, kernels(weight, flipped=False).transpose(1, 2))


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Gradient [N, I, H, W] of `conv3x3` to its input, channels last, from [N, O, H, W]."""
    return _convolve(gradient, kernels(weight, flipped=True))


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient [O, I, 3, 3] of `conv3x3` to its weights, from [N, O, H, W] and [N, I, H, W]."""
    inputs, outputs = _Windows(x), gradient.shape[1]
    spread = square("output", x).t().contiguous()
    total = x.new_zeros(36, outputs, inputs.channels)
    maps = _rows(gradient)
    tiles, wide = _Band(inputs, 16, outputs), _Band(inputs, 36, outputs)
    for image, strips in _bands(x):
        count = strips.stop - strips.start
        own, part = tiles.of(count), _tiles(maps[image], strips)
        own.view(4, 4, count, -1, outputs).copy_(part.permute(1, 3, 0, 2, 4))
        found = torch.mm(spread, own.flatten(1), out=wide.of(count).flatten(1))
        made = found.view(36, -1, outputs)
        total.baddbmm_(made.transpose(1, 2), inputs.transformed(image, strips))
    kernel = total.view(36, -1).t() @ square("kernel", x)
    return kernel.view(outputs, inputs.channels, 3, 3)


def _convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve with transformed kernels [36, I, O]."""
    inputs, outputs = _Windows(x), kernels.shape[2]
    images, _, height, width = x.shape
    y = x.new_empty(images, height, width, outputs)
    made, tiles = _Band(inputs, 36, outputs), _Band(inputs, 16, outputs)
    for image, strips in _bands(x):
        count = strips.stop - strips.start
        products, own = made.of(count), tiles.of(count)
        torch.bmm(inputs.transformed(image, strips), kernels, out=products)
        torch.mm(square("output", x), products.flatten(1), out=own.flatten(1))
        part = own.view(4, 4, count, width // 4, outputs)
        _tiles(y[image], strips).copy_(part.permute(2, 0, 3, 1, 4))
    return y.permute(0, 3, 1, 2)


class _Windows:
    """Overlapping windows of 6 x 6 pixels of maps x [N, C, H, W], with zeros around them."""

    def __init__(self, x: Tensor) -> None:
        self.maps = _rows(x)
        _, self.height, self.width, self.channels = self.maps.shape
        self.matrix = square("input", x)
        rows = 4 * _strips(x) + 2
        self.padded = x.new_zeros(rows, self.width + 2, self.channels)
        self._windows, self._made = (_Band(self, 36, self.channels) for _ in range(2))

    def transformed(self, image: int, strips: slice) -> Tensor:
        """Return the transformed tiles of strips of an image, [36, tiles, C], until the next."""
        count, across = strips.stop - strips.start, self.width // 4
        self._pad(self.maps[image], 4 * strips.start - 1, 4 * count + 2)
        row, column, _ = self.padded.stride()
        windows = self.padded.as_strided(
            (6, 6, count, across, self.channels), (row, column, 4 * row, 4 * column, 1)
        )
        own, made = self._windows.of(count), self._made.of(count)
        own.view(windows.shape).copy_(windows)
        torch.mm(self.matrix, own.flatten(1), out=made.flatten(1))
        return made

    def _pad(self, image: Tensor, first: int, rows: int) -> None:
        """Fill `padded` with rows of an image [H, W, C], of which the outermost may be missing."""
        start, stop = max(first, 0), min(first + rows, self.height)
        self.padded[start - first : stop - first, 1:-1] = image[start:stop]
        if start > first:
            self.padded[0] = 0
        if stop < first + rows:
            self.padded[rows - 1] = 0


class _Band:
    """Memory for planes of a band's tiles: fresh memory for each band would cost as much as a copy.

    Args:
        windows: of the maps.
        planes: numbers of a tile and channel.
        channels: of the tiles.
    """

    def __init__(self, windows: _Windows, planes: int, channels: int) -> None:
        strips, self._across = len(windows.padded) // 4, windows.width // 4
        self._shape = planes, channels
        self._memory = windows.padded.new_empty(planes * strips * self._across * channels)

    def of(self, strips: int) -> Tensor:
        """Return the planes of so many strips, [planes, tiles, C]."""
        planes, channels = self._shape
        tiles = strips * self._across
        return self._memory[: planes * tiles * channels].view(planes, tiles, channels)


def _rows(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _strips(x: Tensor) -> int:
    """Strips of four rows in a band."""
    _, channels, height, width = x.shape
    return min(height // 4, max(1, 4 * BAND // (width * channels)))


def _bands(x: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield images of [N, C, H, W] and strips of four rows whose tiles are taken together."""
    total, step = x.shape[2] // 4, _strips(x)
    for image in range(len(x)):
        for start in range(0, total, step):
            yield image, slice(start, min(start + step, total))


def _tiles(image: Tensor, strips: slice) -> Tensor:
    """View strips of an image [H, W, C] as tiles, [strips, 4, tiles, 4, C]."""
    _, width, channels = image.shape
    part = image[4 * strips.start : 4 * strips.stop]
    row, column, _ = part.stride()
    shape = (strips.stop - strips.start, 4, width // 4, 4, channels)
    return part.as_strided(shape, (4 * row, row, 4 * column, column, 1))


def kernels(weight: Tensor, flipped: bool) -> Tensor:
    """Transform kernels [O, I, 3, 3] to [36, O, I]; flipped for the gradient to the input."""
    matrix = square("kernel", weight)
    taps = weight.reshape(-1, 9).t()
    return ((matrix.flip(1) if flipped else matrix) @ taps).view(36, *weight.shape[:2])


def square(which: str, like: Tensor) -> Tensor:
    """Return a transform along both axes, of the type and on the device of a tensor.

    Args:
        which: "input" [36, 36], "kernel" [36, 9] or "output" [16, 36].
        like: that tensor.
    """
    return _square(which, like.dtype, like.device)


@cache
def _square(which: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    rows = {"input": _INPUT, "kernel": _KERNEL, "output": _OUTPUT}[which]
    axis = torch.tensor(rows, dtype=torch.float64, device="cpu")
    return torch.kron(axis, axis).to(device, dtype)
