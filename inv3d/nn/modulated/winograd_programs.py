"""Triton programs for Winograd's F(4 x 4, 3 x 3): tiles of maps transformed, and back.

Maps are channels last, [N, H, W, C], their sides multiples of 4; tiles are numbered image by image,
row by row. Transformed they're [36, tiles, C], so that products over the channels stand between.
A program has all pixels of some tiles in registers, some channels of them.
"""

# mypy: ignore-errors
# Triton's language has no types that mypy knows.

from __future__ import annotations

import triton
import triton.language as tl

# Numbers that no program is compiled anew for.
SIZES = ["first", "count", "height", "width"]


@triton.jit
def _input(v):
    """Six pixels along an axis, transformed."""
    return (
        4 * v[0] - 5 * v[2] + v[4],
        v[3] + v[4] - 4 * (v[1] + v[2]),
        v[4] - v[3] + 4 * (v[1] - v[2]),
        v[4] - v[2] + 2 * (v[3] - v[1]),
        v[4] - v[2] - 2 * (v[3] - v[1]),
        4 * v[1] - 5 * v[3] + v[5],
    )


@triton.jit
def _output(v):
    """Six products along an axis to four pixels."""
    sum1, sum2, off1, off2 = v[1] + v[2], v[3] + v[4], v[1] - v[2], v[3] - v[4]
    return v[0] + sum1 + sum2, off1 + 2 * off2, sum1 + 4 * sum2, off1 + 8 * off2 + v[5]


@triton.jit
def _spread(v):
    """Four pixels along an axis, by the transpose of `_output`."""
    even, odd, even4, odd8 = v[0] + v[2], v[1] + v[3], v[0] + 4 * v[2], 2 * v[1] + 8 * v[3]
    return v[0], even + odd, even - odd, even4 + odd8, even4 - odd8, v[3]


@triton.jit
def _pixel(x, row, column, height, width, channels, live):
    seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return tl.load(x + (row * width + column) * channels, mask=live & seen, other=0.0)


@triton.jit
def _four(x, row, column, height, width, channels, live):
    return (
        _pixel(x, row, column, height, width, channels, live),
        _pixel(x, row, column + 1, height, width, channels, live),
        _pixel(x, row, column + 2, height, width, channels, live),
        _pixel(x, row, column + 3, height, width, channels, live),
    )


@triton.jit
def _six(x, row, column, height, width, channels, live):
    return (
        _pixel(x, row, column, height, width, channels, live),
        _pixel(x, row, column + 1, height, width, channels, live),
        _pixel(x, row, column + 2, height, width, channels, live),
        _pixel(x, row, column + 3, height, width, channels, live),
        _pixel(x, row, column + 4, height, width, channels, live),
        _pixel(x, row, column + 5, height, width, channels, live),
    )


@triton.jit
def _place(number, height, width):
    """Image, and upper left pixel, of tiles."""
    across, down = width // 4, height // 4
    return number // (across * down), 4 * (number // across % down), 4 * (number % across)


@triton.jit(do_not_specialize=SIZES)
def windows(
    x, out, first, count, height, width, channels, BT: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Tiles of the input with a pixel around them, [36, count, C] from a first tile on."""
    tile = tl.program_id(0) * BT + tl.arange(0, BT)
    channel = (tl.program_id(1) * BC + tl.arange(0, BC))[None, :]
    live = (tile < count)[:, None] & (channel < channels)
    image, row, column = _place(first + tile, height, width)
    row, column = row[:, None] - 1, column[:, None] - 1
    start = x + image.to(tl.int64)[:, None] * height * width * channels + channel
    r0 = _input(_six(start, row, column, height, width, channels, live))
    r1 = _input(_six(start, row + 1, column, height, width, channels, live))
    r2 = _input(_six(start, row + 2, column, height, width, channels, live))
    r3 = _input(_six(start, row + 3, column, height, width, channels, live))
    r4 = _input(_six(start, row + 4, column, height, width, channels, live))
    r5 = _input(_six(start, row + 5, column, height, width, channels, live))
    target = out + tile.to(tl.int64)[:, None] * channels + channel
    plane = count.to(tl.int64) * channels
    for j in tl.static_range(6):
        made = _input((r0[j], r1[j], r2[j], r3[j], r4[j], r5[j]))
        for i in tl.static_range(6):
            tl.store(target + (6 * i + j) * plane, made[i], mask=live)


@triton.jit(do_not_specialize=SIZES)
def spread(
    x, out, first, count, height, width, channels, BT: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Tiles of the output's gradient, [36, count, C] from a first tile on."""
    tile = tl.program_id(0) * BT + tl.arange(0, BT)
    channel = (tl.program_id(1) * BC + tl.arange(0, BC))[None, :]
    live = (tile < count)[:, None] & (channel < channels)
    image, row, column = _place(first + tile, height, width)
    row, column = row[:, None], column[:, None]
    start = x + image.to(tl.int64)[:, None] * height * width * channels + channel
    r0 = _spread(_four(start, row, column, height, width, channels, live))
    r1 = _spread(_four(start, row + 1, column, height, width, channels, live))
    r2 = _spread(_four(start, row + 2, column, height, width, channels, live))
    r3 = _spread(_four(start, row + 3, column, height, width, channels, live))
    target = out + tile.to(tl.int64)[:, None] * channels + channel
    plane = count.to(tl.int64) * channels
    for j in tl.static_range(6):
        made = _spread((r0[j], r1[j], r2[j], r3[j]))
        for i in tl.static_range(6):
            tl.store(target + (6 * i + j) * plane, made[i], mask=live)


@triton.jit
def _products(source, plane, J: tl.constexpr, live):
    return (
        tl.load(source + J * plane, mask=live, other=0.0),
        tl.load(source + (6 + J) * plane, mask=live, other=0.0),
        tl.load(source + (12 + J) * plane, mask=live, other=0.0),
        tl.load(source + (18 + J) * plane, mask=live, other=0.0),
        tl.load(source + (24 + J) * plane, mask=live, other=0.0),
        tl.load(source + (30 + J) * plane, mask=live, other=0.0),
    )


@triton.jit(do_not_specialize=SIZES)
def pixels(
    made, y, first, count, height, width, channels, BT: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """Tiles of the output from products [36, count, C], written from a first tile on."""
    tile = tl.program_id(0) * BT + tl.arange(0, BT)
    channel = (tl.program_id(1) * BC + tl.arange(0, BC))[None, :]
    live = (tile < count)[:, None] & (channel < channels)
    source = made + tile.to(tl.int64)[:, None] * channels + channel
    plane = count.to(tl.int64) * channels
    c0 = _output(_products(source, plane, 0, live))
    c1 = _output(_products(source, plane, 1, live))
    c2 = _output(_products(source, plane, 2, live))
    c3 = _output(_products(source, plane, 3, live))
    c4 = _output(_products(source, plane, 4, live))
    c5 = _output(_products(source, plane, 5, live))
    image, row, column = _place(first + tile, height, width)
    place = (image.to(tl.int64) * height + row) * width + column
    target = y + place[:, None] * channels + channel
    for i in tl.static_range(4):
        line = _output((c0[i], c1[i], c2[i], c3[i], c4[i], c5[i]))
        for j in tl.static_range(4):
            tl.store(target + (i * width + j) * channels, line[j], mask=live)
