"""Sampling of tri-planes and tri-grids for CPUs: one gather of contiguous texels a point.

grid_sample reads every channel from another place and scatters gradients with one thread a plane.
Here planes are tables of texels with their channels side by side. The forward pass is a weighted
embedding bag of twelve texels (24 with slices), the backward pass the product with the transposed,
sparse interpolation matrix; its entries are computed again from the points, chunk by chunk, so that
nothing large is kept. `triplane.sample_planes_plain` is what it must equal.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Pairs = tuple[tuple[int, int], ...]

# Entries of a chunk stay in a second-level cache.
CHUNK = 1 << 16


def gather_planes(planes: Tensor, points: Tensor, pairs: Pairs, box: float) -> Tensor:
    """Return the mean of the planes' features at points, [B, P, C], zero outside the box.

    Args:
        planes: [B, 3, C, R, R], or [B, 3, C, D, R, R] with D slices along the third axis.
        points: [B, P, 3], world units; they get no gradient.
        pairs: world axes along the width and the height of each plane.
        box: side of the cube around the origin that the planes cover, world units.
    """
    return _Gather.apply(planes, points.detach(), pairs, box)  # type: ignore[no-any-return]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, planes: Tensor, points: Tensor, pairs: Pairs, box: float) -> Tensor:
        batch, channels = planes.shape[0], planes.shape[2]
        ctx.save_for_backward(points)
        ctx.pairs, ctx.box, ctx.shape = pairs, box, planes.shape
        out = planes.new_empty(batch, points.shape[1], channels)
        rows = _rows(planes.shape)
        firsts = torch.arange(len(pairs), dtype=torch.int32)[:, None, None] * rows
        for scene in range(batch):
            table = F.pad(planes[scene].movedim(1, -1), (0, 0, 1, 1, 1, 1))
            table = table.reshape(-1, channels)
            for chunk, part in _chunks(points[scene]):
                texels, weights = _neighbours(part, pairs, box, planes.shape)
                bags = (texels + firsts).flatten(0, 1).t().contiguous()
                out[scene, chunk] = F.embedding_bag(
                    bags,
                    table,
                    mode="sum",
                    per_sample_weights=weights.flatten(0, 1).t().contiguous(),
                )
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        (points,) = ctx.saved_tensors
        batch, planes, channels, *slices, size, _ = ctx.shape
        gradient = gradients[0].contiguous()
        tables = gradient.new_zeros(batch, planes, _rows(ctx.shape), channels)
        # The sparse product runs on one thread; planes don't share texels.
        with ThreadPoolExecutor(min(planes, torch.get_num_threads())) as pool:
            for scene in range(batch):
                for chunk, part in _chunks(points[scene]):
                    texels, weights = _neighbours(part, ctx.pairs, ctx.box, ctx.shape)
                    values = [gradient[scene, chunk]] * planes
                    list(pool.map(_scatter, tables[scene], texels, weights, values))
        padded = tables.reshape(batch, planes, *slices, size + 2, size + 2, channels)
        return padded[..., 1:-1, 1:-1, :].movedim(-1, 2), None, None, None


def _scatter(table: Tensor, texels: Tensor, weights: Tensor, values: Tensor) -> None:
    """Add weights [K, P] times values [P, C] to the rows of a table at texels [K, P]."""
    count = len(values)
    columns = torch.arange(count).repeat(len(texels))
    matrix = torch.sparse_coo_tensor(
        torch.stack([texels.flatten().long(), columns]),
        weights.flatten(),
        (len(table), count),
        check_invariants=False,
    )
    torch.addmm(table, matrix, values, out=table)


def _chunks(points: Tensor) -> list[tuple[slice, Tensor]]:
    starts = range(0, len(points), CHUNK)
    return [(slice(i, i + CHUNK), points[i : i + CHUNK]) for i in starts]


def _rows(shape: torch.Size) -> int:
    """Texels of one plane, slice by slice, each with its border."""
    slices = shape[3] if len(shape) == 6 else 1
    return int(slices * (shape[-1] + 2) ** 2)


def _neighbours(
    points: Tensor, pairs: Pairs, box: float, shape: torch.Size
) -> tuple[Tensor, Tensor]:
    """The texels around every point and their weights, each [planes, 4 or 8, P]."""
    texels, weights = _corners(points, pairs, box, shape[-1])
    if len(shape) == 5:
        return texels, weights
    index, share = _slices(points, pairs, box, shape[3])
    texels = texels[:, None] + index[:, :, None] * (shape[-1] + 2) ** 2
    return texels.flatten(1, 2), (weights[:, None] * share[:, :, None]).flatten(1, 2)


def _corners(points: Tensor, pairs: Pairs, box: float, size: int) -> tuple[Tensor, Tensor]:
    """The four texels around every point within a slice and their weights, each [planes, 4, P].

    Slices have a border of one texel of zeros; whatever lies farther out reads that border. The
    weights of a point sum to one.
    """
    width = size + 2
    position = points.t() * (size / box) + (size + 1) / 2
    low = position.floor().clamp_(0, size)
    share = (position - low).clamp_(0, 1)
    across, down = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    shares = torch.stack([1 - share, share], dim=1)
    weights = (shares[down] / len(pairs))[:, :, None] * shares[across][:, None]
    texel = low.to(torch.int32)
    first = texel[down] * width + texel[across]
    steps = torch.tensor([0, 1, width, width + 1], dtype=torch.int32)[:, None]
    return first[:, None] + steps, weights.flatten(1, 2)


def _slices(points: Tensor, pairs: Pairs, box: float, depth: int) -> tuple[Tensor, Tensor]:
    """The two slices around every point and their shares, each [planes, 2, P].

    A slice that doesn't exist has share zero.
    """
    along = [3 - sum(pair) for pair in pairs]
    position = points.t()[along] * (depth / box) + (depth - 1) / 2
    low = position.floor().clamp_(-1, depth)
    second = (position - low).clamp_(0, 1)
    index = torch.stack([low, low + 1], dim=1)
    inside = (index >= 0) & (index < depth)
    share = torch.stack([1 - second, second], dim=1) * inside
    return index.clamp_(0, depth - 1).to(torch.int32), share
