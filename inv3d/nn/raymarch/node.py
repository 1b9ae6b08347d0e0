"""What rays see of planes as one node of the graph, computed by Triton programs.

Nothing is kept for the backward pass but the sums that the node returns. `plain` has the same
functions in plain torch.

Gradients to planes are added atomically, in whatever order programs come, as `grid_sample` adds
them on a GPU: their last bits differ from one time to the next. Where
`torch.use_deterministic_algorithms(True)` asks for the same bits, those of every sample are written
down and added in an order (`scatter`), which takes more time and memory.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import triton
from torch import Tensor

from inv3d.nn.planes.triplane import AXES
from inv3d.nn.raymarch import programs
from inv3d.nn.raymarch.planes import Lines, PlaneVolume
from inv3d.nn.raymarch.scatter import scatter
from inv3d.nn.volume import March, Sums

# Rays of a program, which goes along them, and points of one that only reads densities.
TILE, POINTS = 32, 64
# Compiled for sm_90, 8 warps hold the state of 32 rays in registers, 4 don't. Loads that run ahead
# in shared memory would take more of it than many GPUs have.
_LAUNCH: dict[str, Any] = {"num_warps": 8, "num_stages": 1}
_LAUNCH_DENSITY: dict[str, Any] = {"num_warps": 4, "num_stages": 1}

_AXES = ("A0", "B0", "A1", "B1", "A2", "B2")


def density(volume: PlaneVolume, lines: Lines, depths: Tensor) -> Tensor:
    """Return the raw density [B, R, S] at distances [B, R, S] along rays, without gradient."""
    texels = _channels_last(volume.planes.detach())
    depths = depths.contiguous()
    batch, rays, samples = depths.shape
    raw = torch.empty_like(depths)
    _, *layers = (tensor.detach().contiguous() for tensor in volume.tensors())
    shape = _Shape.of(volume, texels, POINTS)
    with _on(texels):
        programs.density[(triton.cdiv(rays, POINTS), samples, batch)](
            texels, *layers, lines.origins.contiguous(), lines.directions.contiguous(), depths, raw,
            rays, samples, *shape.numbers, *shape.strides, **shape.constants("C", "H", "BC", "BH"),
            **_LAUNCH_DENSITY,
        )  # fmt: skip
    return raw


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
        known: constants of the program.
    """

    numbers: tuple[float, int, int, float]
    strides: tuple[int, ...]
    known: dict[str, Any]

    @classmethod
    def of(cls, volume: PlaneVolume, texels: Tensor, tile: int) -> _Shape:
        grid = texels.ndim == 6
        scene, plane, _, *inner = texels.stride()
        w1, w2 = volume.layers.w1, volume.layers.w2
        axes = dict(zip(_AXES, chain(*AXES[volume.axes]), strict=True))
        known = axes | {
            "C": w1.shape[1], "H": w1.shape[0], "N": w2.shape[0] - 1,
            "BC": _block(w1.shape[1]), "BH": _block(w1.shape[0]), "BO": _block(w2.shape[0] - 1),
            "ACTIVATION": volume.layers.activation,
            "GRID": grid, "CROP": volume.limit is not None,
            "PRECISION": "tf32" if volume.tf32 else "ieee", "T": tile,
        }  # fmt: skip
        return cls(
            (1 / volume.box, texels.shape[-1], texels.shape[3] if grid else 1, volume.limit or 0.0),
            (scene, plane, *(inner if grid else (0, *inner))),
            known,
        )

    def constants(self, *wanted: str) -> dict[str, Any]:
        """The constants that every program has, and some more."""
        always = (*_AXES, "GRID", "CROP", "PRECISION", "T")
        return {name: self.known[name] for name in (*always, *wanted)}


def _on(tensor: Tensor) -> AbstractContextManager[None]:
    """Where programs are launched; elsewhere than on a GPU only Triton's interpreter takes them."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _block(count: int) -> int:
    """The size of a block that holds a dimension; products want 16 at least."""
    return max(16, 1 << (count - 1).bit_length())


def _channels_last(planes: Tensor) -> Tensor:
    """Planes with their channels side by side in memory; they mostly are."""
    if planes.stride(2) == 1 and 0 not in planes.stride():
        return planes
    return planes.movedim(2, -1).contiguous().movedim(-1, 2)


_MARCH = ("C", "H", "N", "BC", "BH", "BO", "ACTIVATION")


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
        texels = _channels_last(planes)
        layers = [tensor.contiguous() for tensor in (w1, b1, w2, b2)]
        lines = Lines(lines.origins.contiguous(), lines.directions.contiguous())
        batch, rays, samples = depths.shape
        shape = _Shape.of(volume, texels, TILE)
        sums = (
            depths.new_empty(batch, rays, len(w2) - 1 if colour else 0),
            depths.new_empty(batch, rays),
            depths.new_empty(batch, rays),
        )
        with _on(texels):
            programs.march[(triton.cdiv(rays, TILE), batch)](
                texels, *layers, lines.origins, lines.directions, depths, *sums,
                rays, samples, *shape.numbers, march.density_gain, march.density_scale,
                *shape.strides, **shape.constants(*_MARCH), COLOUR=colour, **_LAUNCH,
            )  # fmt: skip
        ctx.save_for_backward(texels, *layers, lines.origins, lines.directions, depths, *sums)
        ctx.axes, ctx.box = volume.axes, volume.box
        ctx.march, ctx.shape, ctx.colour = march, shape, colour
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        texels, w1, b1, w2, b2, origins, directions, depths = saved[:8]
        batch, rays, samples = depths.shape
        wants_planes, wants_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:5])
        ordered = wants_planes and torch.are_deterministic_algorithms_enabled()
        tiles = triton.cdiv(rays, TILE)
        sizes = [w1.numel(), b1.numel(), w2.numel(), b2.numel()]
        none = depths.new_empty(0)
        d_texels = none
        if wants_planes and not ordered:
            d_texels = texels.new_empty_strided(texels.shape, texels.stride()).zero_()
        d_features = depths.new_empty(*depths.shape, w1.shape[1]) if ordered else none
        d_weights = depths.new_zeros(batch * tiles, sum(sizes)) if wants_weights else none
        with _on(texels):
            programs.march_back[(tiles, batch)](
                *saved, *(gradient.contiguous() for gradient in gradients),
                d_texels, d_features, d_weights, rays, samples, *ctx.shape.numbers,
                ctx.march.density_gain, ctx.march.density_scale, *ctx.shape.strides,
                **ctx.shape.constants(*_MARCH), COLOUR=ctx.colour, PLANES=wants_planes,
                ORDERED=ordered, WEIGHTS=wants_weights, **_LAUNCH,
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
