"""What rays see of planes as one node of the graph, computed by Triton programs.

For the backward pass density and colours of every sample are kept, no features and no hidden layer.
`plain` has the same functions in plain torch.

Gradients to planes are added atomically, in whatever order programs come, as `grid_sample` adds
them on a GPU: their last bits differ from one time to the next. Where
`torch.use_deterministic_algorithms(True)` asks for the same bits, those of every sample are written
down and added in an order (`scatter`), which takes more time and memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from inv3d.nn.launch import block, on, tiles
from inv3d.nn.planes.triplane import AXES
from inv3d.nn.raymarch import programs
from inv3d.nn.raymarch.planes import Lines, PlaneVolume
from inv3d.nn.raymarch.scatter import scatter
from inv3d.nn.volume import March, Sums

# Samples of a program that decodes; of one that also leaves sums of the decoder's gradients, which
# take more room than its samples.
GROUP, SUMMED = 16, 48


@dataclass(frozen=True)
class _Tile:
    """How many rays a program has, and its warps.

    Loads that run ahead in shared memory would take more of it than many GPUs have.
    """

    rays: int
    warps: int

    @property
    def options(self) -> dict[str, Any]:
        """What a program is launched with."""
        return {"T": self.rays, "num_warps": self.warps, "num_stages": 1}


# Of programs that decode, and that go along rays: fastest on an H100. Larger ones of the first kind
# don't fit its registers.
DECODE, ALONG = _Tile(16, 4), _Tile(32, 4)

_AXES = ("A0", "B0", "A1", "B1", "A2", "B2")


def density(volume: PlaneVolume, lines: Lines, depths: Tensor) -> Tensor:
    """Return the raw density [B, R, S] at distances [B, R, S] along rays, without gradient."""
    texels = _channels_last(volume.planes.detach())
    _, *layers = (tensor.detach().contiguous() for tensor in volume.tensors())
    shape = _Shape.of(volume, texels)
    return _decode(shape, texels, layers, _contiguous(lines), depths.contiguous(), False)[0]


def march(volume: PlaneVolume, lines: Lines, depths: Tensor, march: March, colour: bool) -> Sums:
    """Return what rays add up.

    Args:
        volume: B scenes, float32; gradients reach its tensors.
        lines: B x R rays, without gradient.
        depths: [B, R, S], ascending, without gradient.
        march: density options.
        colour: add up colours too.
    """
    sums = _March.apply(*volume.tensors(), volume, lines, depths.contiguous(), march, colour)
    return Sums(sums[0] if colour else None, sums[1], sums[2])


@dataclass(frozen=True)
class _Shape:
    """What programs are told of a volume.

    Attributes:
        numbers: 1 / box, texels a side, slices, the limit of the margin.
        strides: of scene, plane, slice, row and column, in numbers.
        known: constants of the programs that decode.
        colours: and of those that composite.
    """

    numbers: tuple[float, int, int, float]
    strides: tuple[int, ...]
    known: dict[str, Any]
    colours: dict[str, Any]

    @classmethod
    def of(cls, volume: PlaneVolume, texels: Tensor) -> _Shape:
        grid = texels.ndim == 6
        scene, plane, _, *inner = texels.stride()
        w1, w2 = volume.layers.w1, volume.layers.w2
        colours = {"N": w2.shape[0] - 1, "BO": block(w2.shape[0] - 1)}
        axes = dict(zip(_AXES, chain(*AXES[volume.axes]), strict=True))
        known = axes | colours | {
            "C": w1.shape[1], "H": w1.shape[0],
            "BC": block(w1.shape[1]), "BH": block(w1.shape[0]),
            "ACTIVATION": volume.layers.activation,
            "GRID": grid, "CROP": volume.limit is not None,
            "PRECISION": "tf32" if volume.tf32 else "tf32x3",
        }  # fmt: skip
        return cls(
            (1 / volume.box, texels.shape[-1], texels.shape[3] if grid else 1, volume.limit or 0.0),
            (scene, plane, *(inner if grid else (0, *inner))),
            known,
            colours,
        )


def _channels_last(planes: Tensor) -> Tensor:
    """Planes with their channels side by side in memory; they mostly are."""
    if planes.stride(2) == 1 and 0 not in planes.stride():
        return planes
    return planes.movedim(2, -1).contiguous().movedim(-1, 2)


def _grid(depths: Tensor, group: int) -> tuple[int, int, int]:
    """Programs that decode samples at distances [B, R, S]: tiles of rays, groups, scenes."""
    batch, rays, samples = depths.shape
    return tiles(rays, DECODE.rays), tiles(samples, group), batch


def _contiguous(lines: Lines) -> Lines:
    return Lines(lines.origins.contiguous(), lines.directions.contiguous())


def _decode(
    shape: _Shape,
    texels: Tensor,
    layers: Sequence[Tensor],
    lines: Lines,
    depths: Tensor,
    colour: bool,
) -> tuple[Tensor, Tensor]:
    """Return raw density [B, R, S] and colours [B, R, S, N], of no numbers unless wanted."""
    _, rays, samples = depths.shape
    raw = torch.empty_like(depths)
    colours = depths.new_empty(*depths.shape, shape.known["N"] if colour else 0)
    with on(texels):
        programs.decode[_grid(depths, GROUP)](
            texels, *layers, lines.origins, lines.directions, depths, raw, colours,
            rays, samples, GROUP, *shape.numbers, *shape.strides, **shape.known,
            COLOUR=colour, **DECODE.options,
        )  # fmt: skip
    return raw, colours


class _March(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        planes: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        volume: PlaneVolume,
        lines: Lines,
        depths: Tensor,
        march: March,
        colour: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        texels, lines = _channels_last(planes), _contiguous(lines)
        layers = [tensor.contiguous() for tensor in (w1, b1, w2, b2)]
        batch, rays, samples = depths.shape
        shape = _Shape.of(volume, texels)
        raw, colours = _decode(shape, texels, layers, lines, depths, colour)
        sums = (
            depths.new_empty(batch, rays, colours.shape[-1]),
            depths.new_empty(batch, rays),
            depths.new_empty(batch, rays),
        )
        with on(texels):
            programs.composite[(tiles(rays, ALONG.rays), batch)](
                raw, colours, depths, *sums, rays, samples, march.density_gain,
                march.density_scale, **shape.colours, COLOUR=colour, **ALONG.options,
            )  # fmt: skip
        ctx.save_for_backward(
            texels, *layers, lines.origins, lines.directions, depths, raw, colours, *sums
        )
        ctx.axes, ctx.box = volume.axes, volume.box
        ctx.march, ctx.shape, ctx.colour = march, shape, colour
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        texels, w1, b1, w2, b2, origins, directions, depths, raw, colours = saved[:10]
        sums, given = saved[10:], [gradient.contiguous() for gradient in gradients]
        batch, rays, samples = depths.shape
        wants_planes, wants_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:5])
        ordered = wants_planes and torch.are_deterministic_algorithms_enabled()
        group = SUMMED if wants_weights else GROUP
        grid = _grid(depths, group)
        sizes = [w1.numel(), b1.numel(), w2.numel(), b2.numel()]
        none = depths.new_empty(0)
        d_texels = none
        if wants_planes and not ordered:
            d_texels = texels.new_empty_strided(texels.shape, texels.stride()).zero_()
        d_features = depths.new_empty(*depths.shape, w1.shape[1]) if ordered else none
        d_weights = depths.new_zeros(math.prod(grid), sum(sizes)) if wants_weights else none
        d_raw, weight = torch.empty_like(raw), torch.empty_like(raw)
        with on(texels):
            programs.composite_back[(tiles(rays, ALONG.rays), batch)](
                raw, colours, depths, *sums, *given, d_raw, weight, rays, samples,
                ctx.march.density_gain, ctx.march.density_scale, **ctx.shape.colours,
                COLOUR=ctx.colour, **ALONG.options,
            )  # fmt: skip
            programs.decode_back[grid](
                texels, w1, b1, w2, b2, origins, directions, depths, colours, given[0],
                d_raw, weight, d_texels, d_features, d_weights, rays, samples, group,
                *ctx.shape.numbers, *ctx.shape.strides, **ctx.shape.known, COLOUR=ctx.colour,
                PLANES=wants_planes, ORDERED=ordered, WEIGHTS=wants_weights, **DECODE.options,
            )  # fmt: skip
        d_planes = d_texels if wants_planes else None
        if ordered:
            points = Lines(origins, directions).points(depths)
            d_planes = scatter(d_features.flatten(1, 2), points, texels, ctx.axes, ctx.box)
        parts: list[Tensor | None] = [None] * 4
        if wants_weights:
            split = torch.split(d_weights.sum(0), sizes)
            parts = [p.view_as(w) for p, w in zip(split, (w1, b1, w2, b2), strict=True)]
        return d_planes, *parts, None, None, None, None, None
