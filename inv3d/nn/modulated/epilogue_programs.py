"""Triton programs for what follows a convolution, and the same backwards: one pass over a map.

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
