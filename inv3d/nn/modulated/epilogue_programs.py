"""Triton programs for what follows a convolution, and the same backwards: one pass over a map.

That is the low-pass filter where the resolution was doubled, then all that is done to every number.

Maps are tables of pixels [M, C] with their channels side by side. A comparison, unlike a minimum,
lets what isn't a number through, so that a fit that diverges is found out.
"""

# mypy: ignore-errors
# Triton's language has no types that mypy knows.

from __future__ import annotations

import triton
import triton.language as tl

# Numbers that no program is compiled anew for; one of them is missing from the first.
COUNTS = ["rows", "style_rows", "noise_rows", "chunks"]
SIZES = ["bands", "height", "width", "out_height", "out_width", "padding"]


@triton.jit(do_not_specialize=COUNTS)
def forward(
    y, scale, bias, noise, rows, style_rows, noise_rows, channels, clamp, slope,
    SCALE: tl.constexpr, BIAS: tl.constexpr, NOISE: tl.constexpr, ACTIVATE: tl.constexpr,
    CLAMP: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """clamp(leaky ReLU(y * scale + bias + noise)), in place; a program a tile of pixels."""
    row = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    known = channel < channels
    live = (row < rows)[:, None] & known[None, :]
    at = row[:, None] * channels + channel[None, :]
    value = tl.load(y + at, mask=live, other=0.0).to(tl.float32)
    if SCALE:
        factors = scale + (row // style_rows)[:, None] * channels + channel[None, :]
        value *= tl.load(factors, mask=live, other=0.0)
    if BIAS:
        value += tl.load(bias + channel, mask=known, other=0.0)[None, :]
    if NOISE:
        value += tl.load(noise + row % noise_rows, mask=row < rows, other=0.0)[:, None]
    if ACTIVATE:
        value = tl.where(value < 0, value * slope, value)
    if CLAMP:
        value = tl.where(value > clamp, clamp, tl.where(value < -clamp, -clamp, value))
    tl.store(y + at, value.to(y.dtype.element_ty), mask=live)


@triton.jit(do_not_specialize=COUNTS)
def backward(
    gradient, y, scale, noise, out, sums, pixels, rows, style_rows, noise_rows, channels, chunks,
    clamp, slope, SCALE: tl.constexpr, NOISE: tl.constexpr, ACTIVATE: tl.constexpr,
    CLAMP: tl.constexpr, PIXELS: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr,
    STEPS: tl.constexpr,
):  # fmt: skip
    """The gradient to what came in, and a program's share of the sums over pixels.

    Those are, a channel: of gradient times value; of the gradient behind the activation; of the
    latter times noise. Sums over channels of the latter are stored for each block of them (PIXELS).
    """
    program = tl.program_id(0)
    style, chunk = program // chunks, program % chunks
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    known = channel < channels
    products = tl.zeros([BC], tl.float32)
    totals = tl.zeros([BC], tl.float32)
    shares = tl.zeros([BC], tl.float32)
    if SCALE:
        factor = tl.load(scale + style * channels + channel, mask=known, other=0.0)
    for step in range(STEPS):
        inner = (chunk * STEPS + step) * BM + tl.arange(0, BM)
        row = style.to(tl.int64) * style_rows + inner
        live = (inner < style_rows)[:, None] & known[None, :]
        at = row[:, None] * channels + channel[None, :]
        value = tl.load(y + at, mask=live, other=0.0).to(tl.float32)
        passed = tl.load(gradient + at, mask=live, other=0.0).to(tl.float32)
        if CLAMP:
            passed = tl.where((value >= clamp) | (value <= -clamp), 0.0, passed)
        products += tl.sum(passed * value, 0)
        if ACTIVATE:
            passed = tl.where(value > 0, passed, passed * slope)
        totals += tl.sum(passed, 0)
        if NOISE:
            added = tl.load(noise + row % noise_rows, mask=inner < style_rows, other=0.0)
            shares += tl.sum(passed * added[:, None], 0)
        if PIXELS:
            place = pixels + tl.program_id(1).to(tl.int64) * rows + row
            tl.store(place, tl.sum(passed, 1), mask=inner < style_rows)
        if SCALE:
            passed *= factor[None, :]
        tl.store(out + at, passed.to(out.dtype.element_ty), mask=live)
    start = sums + program.to(tl.int64) * 3 * channels + channel
    tl.store(start, products, mask=known)
    tl.store(start + channels, totals, mask=known)
    tl.store(start + 2 * channels, shares, mask=known)


@triton.jit
def _taps(kernel, ROW: tl.constexpr):
    """A row of the filter, with its gain."""
    at = kernel + 4 * ROW
    return 4 * tl.load(at), 4 * tl.load(at + 1), 4 * tl.load(at + 2), 4 * tl.load(at + 3)


@triton.jit
def _filtered(v0, v1, v2, v3, taps):
    return v0 * taps[0] + v1 * taps[1] + v2 * taps[2] + v3 * taps[3]


@triton.jit(do_not_specialize=SIZES)
def blur(
    x, kernel, y, bands, height, width, out_height, out_width, channels, padding,
    BX: tl.constexpr, BC: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Every channel filtered by a kernel [4, 4] with gain 4; a program a band of ROWS rows.

    Every row that is read adds to four rows of the result, of which one is then complete.
    """
    image, band = tl.program_id(0) // bands, tl.program_id(0) % bands
    column = tl.program_id(1) * BX + tl.arange(0, BX)
    channel = tl.program_id(2) * BC + tl.arange(0, BC)
    known = (channel < channels)[None, :]
    k0, k1, k2, k3 = _taps(kernel, 0), _taps(kernel, 1), _taps(kernel, 2), _taps(kernel, 3)
    one = tl.zeros([BX, BC], tl.float32)  # to be completed by the next row, and so on
    two = tl.zeros([BX, BC], tl.float32)
    three = tl.zeros([BX, BC], tl.float32)
    source = x + image.to(tl.int64) * height * width * channels
    target = y + image.to(tl.int64) * out_height * out_width * channels
    start = column - padding
    for step in range(ROWS + 3):
        row = band * ROWS + step - padding
        line = source + row.to(tl.int64) * width * channels + channel[None, :]
        seen = (row >= 0) & (row < height)
        at = start[:, None]
        v0 = tl.load(line + at * channels, mask=known & seen & (at >= 0) & (at < width), other=0.0)
        at = start[:, None] + 1
        v1 = tl.load(line + at * channels, mask=known & seen & (at >= 0) & (at < width), other=0.0)
        at = start[:, None] + 2
        v2 = tl.load(line + at * channels, mask=known & seen & (at >= 0) & (at < width), other=0.0)
        at = start[:, None] + 3
        v3 = tl.load(line + at * channels, mask=known & seen & (at >= 0) & (at < width), other=0.0)
        v0, v1 = v0.to(tl.float32), v1.to(tl.float32)
        v2, v3 = v2.to(tl.float32), v3.to(tl.float32)
        made = one + _filtered(v0, v1, v2, v3, k3)
        one = two + _filtered(v0, v1, v2, v3, k2)
        two = three + _filtered(v0, v1, v2, v3, k1)
        three = _filtered(v0, v1, v2, v3, k0)
        done = band * ROWS + step - 3
        place = target + (done.to(tl.int64) * out_width + column[:, None]) * channels
        live = known & (column < out_width)[:, None] & (step >= 3) & (done < out_height)
        tl.store(place + channel[None, :], made.to(y.dtype.element_ty), mask=live)
