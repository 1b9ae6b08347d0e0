"""Sampling of tri-planes and tri-grids for CPUs: one gather of contiguous texels a point.

grid_sample reads every channel from another place and scatters gradients with one thread a plane.
Here planes are tables of texels with their channels side by side, of all slices if there are some.
The forward pass is a weighted embedding bag of twelve texels, and a second one of slices; the
backward pass is the product with the transposed, sparse interpolation matrix. Its entries are
computed again from the points, chunk by chunk, so that nothing large is kept.
`triplane.sample_planes_plain` is what it must equal.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

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
        for scene in range(batch):
            table = texel_table(planes[scene])
            for chunk, part in chunks(points[scene], CHUNK):
                out[scene, chunk] = gather(table, part, pairs, box, planes.shape)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        (points,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        with Scatter(ctx.shape, ctx.pairs, ctx.box, gradient) as scatter:
            for scene in range(len(points)):
                for chunk, part in chunks(points[scene], CHUNK):
                    scatter.add(scene, part, gradient[scene, chunk])
        return scatter.planes(), None, None, None


class Scatter:
    """Sums the gradients of points into the gradient of planes; the same bits every time.

    Args:
        shape: of the planes, [B, 3, C, R, R] or [B, 3, C, D, R, R].
        pairs: world axes along the width and the height of each plane.
        box: side of the cube around the origin that the planes cover, world units.
        like: gives the type.
    """

    def __init__(self, shape: torch.Size, pairs: Pairs, box: float, like: Tensor) -> None:
        self._shape, self._pairs, self._box = shape, pairs, box
        batch, planes, channels, *slices, _, _ = shape
        width = channels * (slices[0] if slices else 1)
        self._tables = like.new_zeros(batch, planes, _texels(shape), width)
        # The sparse product runs on one thread; planes don't share texels.
        self._pool = ThreadPoolExecutor(min(planes, torch.get_num_threads()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, scene: int, points: Tensor, gradient: Tensor) -> None:
        """Add the gradient [P, C] of the features at points [P, 3] of a scene."""
        texels, weights = _corners(points, self._pairs, self._box, self._shape[-1])
        values = [gradient] * len(texels)
        if len(self._shape) == 6:
            shares = _slices(points, self._pairs, self._box, self._shape[3])
            values = [(s.t()[:, :, None] * gradient[:, None]).flatten(1) for s in shares]
        list(self._pool.map(_add_products, self._tables[scene], texels, weights, values))

    def planes(self) -> Tensor:
        """Return the sums in the shape of the planes."""
        batch, planes, channels, *slices, size, _ = self._shape
        padded = self._tables.reshape(batch, planes, size + 2, size + 2, *slices, channels)
        inner = padded[:, :, 1:-1, 1:-1]
        return inner.permute(0, 1, 5, 4, 2, 3) if slices else inner.movedim(-1, 2)


def texel_table(planes: Tensor) -> Tensor:
    """Return the texels of one scene's planes with their border of zeros.

    Args:
        planes: [3, C, R, R] or [3, C, D, R, R].

    Returns:
        [T, C], or [T, D * C] with all slices of a texel side by side.
    """
    last = planes.movedim(1, -1) if planes.ndim == 4 else planes.permute(0, 3, 4, 2, 1)
    border = (0, 0) * (planes.ndim - 3) + (1, 1, 1, 1)
    return F.pad(last, border).flatten(0, 2).flatten(1)


class TexelTables:
    """The texel tables of B scenes, each made when it's first asked for, and then kept.

    Args:
        planes: [B, 3, C, R, R] or [B, 3, C, D, R, R]; they must stay as they are.
    """

    def __init__(self, planes: Tensor) -> None:
        self._planes = planes.detach()
        self._made: dict[int, Tensor] = {}

    def __getitem__(self, scene: int) -> Tensor:
        """Return the table of a scene, see `texel_table`."""
        if scene not in self._made:
            self._made[scene] = texel_table(self._planes[scene])
        return self._made[scene]


def gather(table: Tensor, points: Tensor, pairs: Pairs, box: float, shape: torch.Size) -> Tensor:
    """Return the features [P, C] at points [P, 3] from the table of planes of a shape."""
    texels, weights = _corners(points, pairs, box, shape[-1])
    texels += torch.arange(len(pairs), dtype=torch.int32)[:, None, None] * _texels(shape)
    if len(shape) == 5:
        return _sum(table, texels.flatten(0, 1).t(), weights.flatten(0, 1).t())
    planes = _sum(table, texels.movedim(-1, 1).flatten(0, 1), weights.movedim(-1, 1).flatten(0, 1))
    shares = _slices(points, pairs, box, shape[3])
    rows = torch.arange(shares.numel(), dtype=torch.int32).reshape(len(pairs), len(points), -1)
    return _sum(
        planes.reshape(-1, shape[2]), rows.movedim(1, 0).flatten(1), shares.flatten(0, 1).t()
    )


def _sum(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sums [N, C] of rows [N, K] of a table [T, C]."""
    return F.embedding_bag(
        rows.contiguous(), table, mode="sum", per_sample_weights=weights.contiguous()
    )


def _add_products(table: Tensor, texels: Tensor, weights: Tensor, values: Tensor) -> None:
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


def chunks(points: Tensor, size: int) -> list[tuple[slice, Tensor]]:
    """Cut points [P, 3] into parts of a size, each with its place."""
    starts = range(0, len(points), size)
    return [(slice(i, i + size), points[i : i + size]) for i in starts]


def _texels(shape: torch.Size) -> int:
    """Texels of one plane with its border."""
    return int((shape[-1] + 2) ** 2)


def _corners(points: Tensor, pairs: Pairs, box: float, size: int) -> tuple[Tensor, Tensor]:
    """The four texels around every point and their weights, each [planes, 4, P].

    Planes have a border of one texel of zeros; whatever lies farther out reads that border. The
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


def _slices(points: Tensor, pairs: Pairs, box: float, depth: int) -> Tensor:
    """The share of every slice of every plane at every point, [planes, depth, P].

    It falls from one at the slice's centre to zero at its neighbours'.
    """
    along = [3 - sum(pair) for pair in pairs]
    position = points.t()[along] * (depth / box) + (depth - 1) / 2
    centres = torch.arange(depth, dtype=points.dtype)[:, None]
    return (1 - (position[:, None] - centres).abs_()).clamp_min_(0)
