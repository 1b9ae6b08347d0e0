"""Triton programs: what rays see of planes, and the gradients of it.

Two kinds take turns. `decode` and `decode_back` have a tile of rays and some of their samples: they
read the texels around the points and decode them in two products, no sample after another, so that
many programs hide how long a texel takes. `composite` and `composite_back` go along rays, sample
by sample, with nothing to compute but sums. Both read what `decode` wrote down, density and
colours of every sample. Backwards, what all later intervals add to a gradient is the whole less
what was passed already, and the whole is known from the sums.

Imported where a GPU takes this way (see `field`), and by tests in Triton's interpreter. Functions
that aren't exact to the last bits on a GPU, such as logarithms near one, are left out.
"""

# mypy: ignore-errors
# Triton's language has no types that mypy knows.

from __future__ import annotations

import triton
import triton.language as tl

# Raw density in the margin of the box.
EMPTY = tl.constexpr(-1000.0)
# Numbers that no program is compiled anew for.
COUNTS = ["rays", "samples", "group", "size", "slices"]


@triton.jit
def _log1p_of_share(x):
    """log(1 + x) for x from 0 to 1: 2 artanh(x / (2 + x)) as a series, to the last bits."""
    t = x / (2 + x)
    q = t * t
    series = 1 / 13 + q * (1 / 15)
    series = 1 / 11 + q * series
    series = 1 / 9 + q * series
    series = 1 / 7 + q * series
    series = 1 / 5 + q * series
    series = 1 / 3 + q * series
    return 2 * t * (1 + q * series)


@triton.jit
def _softplus(x):
    return tl.maximum(x, 0.0) + _log1p_of_share(tl.exp(-tl.abs(x)))


@triton.jit
def _absorbed(x):
    """1 - exp(-x) for x from 0 on; exact near 0 too."""
    series = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5))))
    return tl.where(x < 0.05, series, 1 - tl.exp(-x))


@triton.jit
def _axis(x, y, z, AXIS: tl.constexpr):
    if AXIS == 0:
        return x
    elif AXIS == 1:
        return y
    else:
        return z


@triton.jit
def _low(coordinate, scale, size):
    """The texel below a position, -2 or `size` + 1 far outside, and the share of the next one."""
    position = coordinate * scale * size + (size - 1) * 0.5
    position = tl.minimum(tl.maximum(position, -2.0), size + 1.0)
    low = tl.floor(position)
    return low.to(tl.int32), position - low


@triton.jit
def _visit(values, texels, at, share, inside, C: tl.constexpr, BC: tl.constexpr, ADD: tl.constexpr):
    """Read texels and add them to values, [T, BC], or add values to texels."""
    channel = tl.arange(0, BC)
    where = texels + at[:, None] + channel[None, :]
    valid = inside[:, None] & (channel < C)[None, :]
    if ADD:
        tl.atomic_add(where, values * share[:, None], mask=valid, sem="relaxed")
        return values
    else:
        return values + tl.load(where, mask=valid, other=0.0) * share[:, None]


@triton.jit
def _plane(
    values, texels, across, down, along, scale, size, slices, live, sd, sy, sx,
    C: tl.constexpr, BC: tl.constexpr, GRID: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """The texels of one plane around points; nothing lies beyond its borders."""
    ix, fx = _low(across, scale, size)
    iy, fy = _low(down, scale, size)
    for dy in tl.static_range(2):
        for dx in tl.static_range(2):
            jx, jy = ix + dx, iy + dy
            share = (dx * fx + (1 - dx) * (1 - fx)) * (dy * fy + (1 - dy) * (1 - fy))
            inside = live & (jx >= 0) & (jx < size) & (jy >= 0) & (jy < size)
            at = jy * sy + jx * sx
            if GRID:
                iz, fz = _low(along, scale, slices)
                for dz in tl.static_range(2):
                    jz = iz + dz
                    part = share * (dz * fz + (1 - dz) * (1 - fz))
                    within = inside & (jz >= 0) & (jz < slices)
                    values = _visit(values, texels, at + jz * sd, part, within, C, BC, ADD)
            else:
                values = _visit(values, texels, at, share, inside, C, BC, ADD)
    return values


@triton.jit
def _planes(
    values, texels, x, y, z, scale, size, slices, live, sp, sd, sy, sx,
    A0: tl.constexpr, B0: tl.constexpr, A1: tl.constexpr, B1: tl.constexpr, A2: tl.constexpr,
    B2: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, GRID: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """Sum of the three planes' features at points [T]; or add values to all their texels."""
    values = _plane(
        values, texels, _axis(x, y, z, A0), _axis(x, y, z, B0), _axis(x, y, z, 3 - A0 - B0),
        scale, size, slices, live, sd, sy, sx, C, BC, GRID, ADD,
    )  # fmt: skip
    values = _plane(
        values, texels + sp, _axis(x, y, z, A1), _axis(x, y, z, B1), _axis(x, y, z, 3 - A1 - B1),
        scale, size, slices, live, sd, sy, sx, C, BC, GRID, ADD,
    )  # fmt: skip
    return _plane(
        values, texels + 2 * sp, _axis(x, y, z, A2), _axis(x, y, z, B2),
        _axis(x, y, z, 3 - A2 - B2), scale, size, slices, live, sd, sy, sx, C, BC, GRID, ADD,
    )  # fmt: skip


@triton.jit
def _hidden(features, w1, b1, PRECISION: tl.constexpr):
    return _softplus(tl.dot(features, w1, input_precision=PRECISION) + b1[None, :])


@triton.jit
def _colours(hidden, w2, b2, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr):
    made = tl.dot(hidden, w2, input_precision=PRECISION) + b2[None, :]
    if ACTIVATION == "sigmoid":
        return tl.sigmoid(made) * 1.002 - 0.001
    elif ACTIVATION == "lrelu":
        return tl.where(made > 0, made, 0.2 * made) * 1.4142135623730951 - 0.5
    else:
        return made


@triton.jit
def _slope(colours, ACTIVATION: tl.constexpr):
    """Derivative of the activation of colours, told by what it made."""
    if ACTIVATION == "sigmoid":
        share = (colours + 0.001) / 1.002
        return share * (1 - share) * 1.002
    elif ACTIVATION == "lrelu":
        return tl.where(colours > -0.5, 1.0, 0.2) * 1.4142135623730951
    else:
        return colours * 0 + 1


@triton.jit
def _first_layer(w1, b1, C: tl.constexpr, H: tl.constexpr, BC: tl.constexpr, BH: tl.constexpr):
    """Weights [H, C] as [BC, BH], and the bias [BH]; zeros beyond."""
    c, h = tl.arange(0, BC), tl.arange(0, BH)
    known = (c < C)[:, None] & (h < H)[None, :]
    weight = tl.load(w1 + h[None, :] * C + c[:, None], mask=known, other=0.0)
    return weight, tl.load(b1 + h, mask=h < H, other=0.0)


@triton.jit
def _second_layer(w2, b2, H: tl.constexpr, N: tl.constexpr, BH: tl.constexpr, BO: tl.constexpr):
    """Weights [1 + N, H] of the colours as [BH, BO], and the bias [BO]; zeros beyond."""
    h, o = tl.arange(0, BH), tl.arange(0, BO)
    known = (h < H)[:, None] & (o < N)[None, :]
    weight = tl.load(w2 + (o[None, :] + 1) * H + h[:, None], mask=known, other=0.0)
    return weight, tl.load(b2 + 1 + o, mask=o < N, other=0.0)


@triton.jit
def _line(origins, directions, at):
    """Origins and directions of rays."""
    return (
        tl.load(origins + at * 3), tl.load(origins + at * 3 + 1), tl.load(origins + at * 3 + 2),
        tl.load(directions + at * 3), tl.load(directions + at * 3 + 1),
        tl.load(directions + at * 3 + 2),
    )  # fmt: skip


@triton.jit
def _within(x, z, limit):
    """Whether points lie off the empty margin of the box."""
    return (tl.abs(x) <= limit) & (tl.abs(z) <= limit)


@triton.jit(do_not_specialize=COUNTS)
def decode(
    texels, w1, b1, w2, b2, origins, directions, depths, raw, colours,
    rays, samples, group, scale, size, slices, limit, sb, sp, sd, sy, sx,
    A0: tl.constexpr, B0: tl.constexpr, A1: tl.constexpr, B1: tl.constexpr, A2: tl.constexpr,
    B2: tl.constexpr, C: tl.constexpr, H: tl.constexpr, N: tl.constexpr, BC: tl.constexpr,
    BH: tl.constexpr, BO: tl.constexpr, GRID: tl.constexpr, CROP: tl.constexpr,
    COLOUR: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Raw density [B, R, S] and colours [B, R, S, N] at distances [B, R, S] along rays.

    A program has a tile of rays and a group of samples.
    """
    scene = tl.program_id(2).to(tl.int64)
    ray = tl.program_id(0) * T + tl.arange(0, T)
    live = ray < rays
    row = scene * rays + tl.minimum(ray, rays - 1)
    ox, oy, oz, dx, dy, dz = _line(origins, directions, row)
    weight, bias = _first_layer(w1, b1, C, H, BC, BH)
    h, o = tl.arange(0, BH), tl.arange(0, BO)
    towards, offset = tl.load(w2 + h, mask=h < H, other=0.0), tl.load(b2)
    if COLOUR:
        weight2, bias2 = _second_layer(w2, b2, H, N, BH, BO)
        known = live[:, None] & (o < N)[None, :]
    first = tl.program_id(1) * group
    for sample in range(first, tl.minimum(first + group, samples)):
        at = row * samples + sample
        t = tl.load(depths + at)
        x, y, z = ox + dx * t, oy + dy * t, oz + dz * t
        features = _planes(
            tl.zeros([T, BC], tl.float32), texels + scene * sb, x, y, z, scale, size, slices, live,
            sp, sd, sy, sx, A0, B0, A1, B1, A2, B2, C, BC, GRID, False,
        )  # fmt: skip
        hidden = _hidden(features * (1 / 3), weight, bias, PRECISION)
        found = tl.sum(hidden * towards[None, :], 1) + offset
        if CROP:
            found = tl.where(_within(x, z, limit), found, EMPTY)
        tl.store(raw + at, found, mask=live)
        if COLOUR:
            made = _colours(hidden, weight2, bias2, ACTIVATION, PRECISION)
            tl.store(colours + at[:, None] * N + o[None, :], made, mask=known)


@triton.jit(do_not_specialize=COUNTS)
def composite(
    raw, colours, depths, colour, distance, opacity, rays, samples, gain, factor,
    N: tl.constexpr, BO: tl.constexpr, COLOUR: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Sums over the intervals between sorted samples, each times the weight of its interval.

    Of colours, [B, R, N], distances of interval centres and ones, [B, R]; a program a tile of rays.
    """
    scene = tl.program_id(1).to(tl.int64)
    ray = tl.program_id(0) * T + tl.arange(0, T)
    live = ray < rays
    row = scene * rays + tl.minimum(ray, rays - 1)
    o = tl.arange(0, BO)
    known = live[:, None] & (o < N)[None, :]
    colour_sum = tl.zeros([T, BO], tl.float32)
    colours_before = tl.zeros([T, BO], tl.float32)
    distance_sum = tl.zeros([T], tl.float32)
    weights_sum = tl.zeros([T], tl.float32)
    passed = tl.zeros([T], tl.float32)  # absorption of all intervals before
    raw_before = tl.zeros([T], tl.float32)
    t_before = tl.load(depths + row * samples)
    for sample in range(samples):
        at = row * samples + sample
        t, found = tl.load(depths + at), tl.load(raw + at)
        # The interval before the first sample has no length, and so no weight.
        absorption = _softplus((found + raw_before) * 0.5 * gain - 1) * factor * (t - t_before)
        share = tl.exp(-passed) * _absorbed(absorption)
        passed += absorption
        if COLOUR:
            made = tl.load(colours + at[:, None] * N + o[None, :], mask=known, other=0.0)
            colour_sum += (made + colours_before) * (share * 0.5)[:, None]
            colours_before = made
        distance_sum += share * (t + t_before) * 0.5
        weights_sum += share
        raw_before, t_before = found, t
    if COLOUR:
        tl.store(colour + row[:, None] * N + o[None, :], colour_sum, mask=known)
    tl.store(distance + row, distance_sum, mask=live)
    tl.store(opacity + row, weights_sum, mask=live)


@triton.jit(do_not_specialize=COUNTS)
def composite_back(
    raw, colours, depths, colour, distance, opacity, d_colour, d_distance, d_opacity,
    d_raw, weights, rays, samples, gain, factor,
    N: tl.constexpr, BO: tl.constexpr, COLOUR: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Gradients of what `composite` adds up, to the raw density of every sample, [B, R, S].

    Those to its colours are the ray's times the weight of the sample, which is stored, [B, R, S].
    Both are complete one interval later.
    """
    scene = tl.program_id(1).to(tl.int64)
    ray = tl.program_id(0) * T + tl.arange(0, T)
    live = ray < rays
    row = scene * rays + tl.minimum(ray, rays - 1)
    o = tl.arange(0, BO)
    known = live[:, None] & (o < N)[None, :]
    g_distance = tl.load(d_distance + row, mask=live, other=0.0)
    g_opacity = tl.load(d_opacity + row, mask=live, other=0.0)
    # What the intervals still to come add to the loss, at first order.
    rest = g_distance * tl.load(distance + row) + g_opacity * tl.load(opacity + row)
    if COLOUR:
        at_colour = row[:, None] * N + o[None, :]
        g_colour = tl.load(d_colour + at_colour, mask=known, other=0.0)
        rest += tl.sum(g_colour * tl.load(colour + at_colour, mask=known, other=0.0), 1)
    passed = tl.zeros([T], tl.float32)
    t_before = tl.load(depths + row * samples)
    raw_before = tl.zeros([T], tl.float32)
    worth_before = tl.zeros([T], tl.float32)  # of its colour
    # Of the sample before: its weight and gradient from the interval that ended there.
    half_before = tl.zeros([T], tl.float32)
    d_raw_before = tl.zeros([T], tl.float32)
    for sample in range(samples + 1):
        # The intervals before the first and behind the last sample have no length.
        at = row * samples + tl.minimum(sample, samples - 1)
        t, found = tl.load(depths + at), tl.load(raw + at)
        worth = tl.zeros([T], tl.float32)
        if COLOUR:
            made = tl.load(colours + at[:, None] * N + o[None, :], mask=known, other=0.0)
            worth = tl.sum(made * g_colour, 1)
        middle = (found + raw_before) * 0.5 * gain - 1
        length = t - t_before
        absorption = _softplus(middle) * factor * length
        through = tl.exp(-passed)
        share = through * _absorbed(absorption)
        gradient = (worth + worth_before + g_distance * (t + t_before)) * 0.5 + g_opacity
        rest -= gradient * share
        d_absorption = gradient * (through - share) - rest
        d_found = d_absorption * length * (factor * gain * 0.5) * tl.sigmoid(middle)
        passed += absorption
        # The sample before is complete.
        before = row * samples + tl.maximum(sample - 1, 0)
        told = live & (sample > 0)
        tl.store(d_raw + before, d_raw_before + d_found, mask=told)
        tl.store(weights + before, half_before + share * 0.5, mask=told)
        raw_before, worth_before, t_before = found, worth, t
        half_before, d_raw_before = share * 0.5, d_found


@triton.jit(do_not_specialize=COUNTS)
def decode_back(
    texels, w1, b1, w2, b2, origins, directions, depths, colours, d_colour, d_raw, weights,
    d_texels, d_features, d_weights,
    rays, samples, group, scale, size, slices, limit, sb, sp, sd, sy, sx,
    A0: tl.constexpr, B0: tl.constexpr, A1: tl.constexpr, B1: tl.constexpr, A2: tl.constexpr,
    B2: tl.constexpr, C: tl.constexpr, H: tl.constexpr, N: tl.constexpr, BC: tl.constexpr,
    BH: tl.constexpr, BO: tl.constexpr, GRID: tl.constexpr, CROP: tl.constexpr,
    COLOUR: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr, T: tl.constexpr,
    PLANES: tl.constexpr, ORDERED: tl.constexpr, WEIGHTS: tl.constexpr,
):  # fmt: skip
    """Gradients of `decode`, from those that `composite_back` found.

    To texels they're added atomically (PLANES), or the gradient of the features at every sample is
    stored, [B, R, S, C], to be added in an order (ORDERED). Those to the decoder (WEIGHTS) are
    stored for each program: w1 [H, C], b1 [H], w2 [1 + N, H], b2 [1 + N].
    """
    scene = tl.program_id(2).to(tl.int64)
    ray = tl.program_id(0) * T + tl.arange(0, T)
    live = ray < rays
    row = scene * rays + tl.minimum(ray, rays - 1)
    ox, oy, oz, dx, dy, dz = _line(origins, directions, row)
    weight, bias = _first_layer(w1, b1, C, H, BC, BH)
    c, h, o = tl.arange(0, BC), tl.arange(0, BH), tl.arange(0, BO)
    towards = tl.load(w2 + h, mask=h < H, other=0.0)
    if COLOUR:
        weight2, _ = _second_layer(w2, b2, H, N, BH, BO)
        known = live[:, None] & (o < N)[None, :]
        g_colour = tl.load(d_colour + row[:, None] * N + o[None, :], mask=known, other=0.0)
    if WEIGHTS:
        sum_w1 = tl.zeros([BC, BH], tl.float32)
        sum_b1 = tl.zeros([BH], tl.float32)
        sum_towards = tl.zeros([BH], tl.float32)
        sum_offset = tl.zeros([T], tl.float32)
        sum_w2 = tl.zeros([BH, BO], tl.float32)
        sum_b2 = tl.zeros([BO], tl.float32)
    first = tl.program_id(1) * group
    for sample in range(first, tl.minimum(first + group, samples)):
        at = row * samples + sample
        t = tl.load(depths + at)
        x, y, z = ox + dx * t, oy + dy * t, oz + dz * t
        features = _planes(
            tl.zeros([T, BC], tl.float32), texels + scene * sb, x, y, z, scale, size, slices, live,
            sp, sd, sy, sx, A0, B0, A1, B1, A2, B2, C, BC, GRID, False,
        ) * (1 / 3)  # fmt: skip
        hidden = _hidden(features, weight, bias, PRECISION)
        d_density = tl.load(d_raw + at, mask=live, other=0.0)
        share = tl.load(weights + at, mask=live, other=0.0)
        if CROP:
            d_density = tl.where(_within(x, z, limit), d_density, 0.0)
        d_hidden = d_density[:, None] * towards[None, :]
        if COLOUR:
            made = tl.load(colours + at[:, None] * N + o[None, :], mask=known, other=0.0)
            d_made = g_colour * share[:, None] * _slope(made, ACTIVATION)
            d_hidden += tl.dot(d_made, tl.trans(weight2), input_precision=PRECISION)
        # The derivative of softplus, from its value.
        d_inner = d_hidden * _absorbed(hidden)
        if WEIGHTS:
            sum_w1 += tl.dot(tl.trans(features), d_inner, input_precision=PRECISION)
            sum_b1 += tl.sum(d_inner, 0)
            sum_towards += tl.sum(d_density[:, None] * hidden, 0)
            sum_offset += d_density
            if COLOUR:
                sum_w2 += tl.dot(tl.trans(hidden), d_made, input_precision=PRECISION)
                sum_b2 += tl.sum(d_made, 0)
        if PLANES or ORDERED:
            spread = tl.dot(d_inner, tl.trans(weight), input_precision=PRECISION) * (1 / 3)
            if ORDERED:
                place = at[:, None] * C + c[None, :]
                tl.store(d_features + place, spread, mask=live[:, None] & (c < C)[None, :])
            else:
                told = live & ((d_density != 0) | (share != 0))
                _planes(
                    spread, d_texels + scene * sb, x, y, z, scale, size, slices, told,
                    sp, sd, sy, sx, A0, B0, A1, B1, A2, B2, C, BC, GRID, True,
                )  # fmt: skip
    if WEIGHTS:
        tile = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        program = scene * (tl.num_programs(0) * tl.num_programs(1)) + tile
        start = d_weights + program * (H * C + H + (1 + N) * (H + 1))
        known1 = (c < C)[:, None] & (h < H)[None, :]
        tl.store(start + h[None, :] * C + c[:, None], sum_w1, mask=known1)
        start += H * C
        tl.store(start + h, sum_b1, mask=h < H)
        start += H
        tl.store(start + h, sum_towards, mask=h < H)
        if COLOUR:
            known2 = (h < H)[:, None] & (o < N)[None, :]
            tl.store(start + (o[None, :] + 1) * H + h[:, None], sum_w2, mask=known2)
        start += (1 + N) * H
        tl.store(start, tl.sum(sum_offset))
        if COLOUR:
            tl.store(start + 1 + o, sum_b2, mask=o < N)
