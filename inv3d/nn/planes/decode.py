"""Planes and their decoder as one function of points; on CPUs as one node of the graph.

`decode_planes` is `sample_planes` and `Decoder` in a row, which is what `decode_planes_plain` does.
On a CPU both become a single node that works through the points in pieces which stay in cache:

- Of a point it keeps its features alone; the hidden layer is computed again in the backward pass.
- Points that get next to no gradient, in empty space or behind a surface, are left out of the
  backward pass (see `DEAD`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from inv3d.nn.layers import EqualLinear
from inv3d.nn.planes.decoder import Activation, Decoder, activate, activation_slope
from inv3d.nn.planes.gather import Pairs, Scatter, TexelTables, chunks, gather
from inv3d.nn.planes.triplane import AXES, PlaneAxes, sample_planes
from inv3d.nn.products import product

# Points of a piece: what is computed of it stays in cache.
CHUNK = 1 << 14
# Points whose gradient is smaller than this share of the mean over all points of their scene are
# left out. So all that is left out together is less than this share of the whole gradient.
DEAD = 1e-6
# Beyond it softplus is the identity, to the last digit of a float64.
LINEAR = 40.0


def decode_planes(
    decoder: nn.Module,
    planes: Tensor,
    points: Tensor,
    axes: PlaneAxes,
    box: float,
    colour: bool,
    tables: TexelTables | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return raw density [B, P] and colours [B, P, K] (None unless wanted) at points.

    Args:
        decoder: features to raw density and colours, as `Decoder` does.
        planes: [B, 3, C, R, R], or [B, 3, C, D, R, R] with D slices.
        points: [B, P, 3], world units.
        axes: which axes the planes span.
        box: side of the cube around the origin that the planes cover, world units.
        colour: whether colours are wanted.
        tables: of the planes, where they're decoded several times.
    """
    if not _fits(decoder, planes, points):
        return decode_planes_plain(decoder, planes, points, axes, box, colour)
    first, _, second = decoder.net
    layers = (*_scaled(first), *_scaled(second, None if colour else slice(0, 1)))
    tables = TexelTables(planes) if tables is None else tables
    plan = (tables, AXES[axes], box, decoder.activation, colour, torch.is_grad_enabled())
    return _DecodePlanes.apply(planes, points.detach(), *layers, *plan)  # type: ignore[no-any-return]


def decode_planes_plain(
    decoder: nn.Module, planes: Tensor, points: Tensor, axes: PlaneAxes, box: float, colour: bool
) -> tuple[Tensor, Tensor | None]:
    """`decode_planes` one after the other: any device, type and decoder, gradients to points."""
    features = sample_planes(planes, points, axes, box)
    return decoder(features, colour)  # type: ignore[no-any-return]


def _fits(decoder: nn.Module, planes: Tensor, points: Tensor) -> TypeGuard[Decoder]:
    """Whether the node does what calling the decoder would do: it calls no module."""
    if planes.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if planes.dtype not in (torch.float32, torch.float64) or points.dtype != planes.dtype:
        return False
    if points.requires_grad and torch.is_grad_enabled():
        return False
    return type(decoder) is Decoder and is_own(decoder, planes.dtype)


def is_own(decoder: Decoder, dtype: torch.dtype) -> bool:
    """Whether a decoder is as it was built, without hooks and with no layer replaced."""
    kinds = [type(layer) for layer in decoder.net]
    if kinds != [EqualLinear, nn.Softplus, EqualLinear]:
        return False
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in decoder.modules())
    hooked |= any(m._backward_hooks or m._backward_pre_hooks for m in decoder.modules())
    return not hooked and all(p.dtype == dtype for p in decoder.parameters())


def _scaled(layer: nn.Module, rows: slice | None = None) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, EqualLinear)
    weight, bias = layer.weight * layer.weight_gain, layer.bias * layer.bias_gain
    return (weight, bias) if rows is None else (weight[rows], bias[rows])


class _DecodePlanes(torch.autograd.Function):
    """w1 [H, C], b1 [H], w2 [1 + K, H], b2 [1 + K]: the layers as they are applied.

    Without colour the last layer has a single row.
    """

    @staticmethod
    def forward(
        ctx: Any, planes: Tensor, points: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor,
        tables: TexelTables, pairs: Pairs, box: float, activation: Activation, colour: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        batch, count = points.shape[:2]
        raw = planes.new_empty(batch, count)
        colours = planes.new_empty(batch, count, len(w2) - 1) if colour else None
        kept = planes.new_empty(batch, count, planes.shape[2]) if keep else None
        for scene in range(batch):
            table = tables[scene]
            for part, where in chunks(points[scene], CHUNK):
                features = gather(table, where, pairs, box, planes.shape)
                made = product(_softplus_(product(features, w1, b1)), w2, b2)
                raw[scene, part] = made[:, 0]
                if colours is not None:
                    colours[scene, part] = activate(made[:, 1:], activation)
                if kept is not None:
                    kept[scene, part] = features
        ctx.save_for_backward(points, kept, colours, w1, b1, w2)
        ctx.plan = planes.shape, pairs, box, activation
        ctx.set_materialize_grads(False)
        return raw, colours

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        points, kept, colours, w1, b1, w2 = ctx.saved_tensors
        shape, pairs, box, activation = ctx.plan
        wants_planes, *wants_layers = (ctx.needs_input_grad[i] for i in (0, 2, 3, 4, 5))
        layers = _Layers(w1, b1, w2, any(wants_layers))
        with Scatter(shape, pairs, box, w1) as scatter:
            for scene in range(len(points)):
                raw, colour = (None if g is None else g[scene] for g in given)
                for part in _live_parts(raw, colour, len(points[scene])):
                    outer = kept.new_zeros(len(part), 1 if colour is None else len(w2))
                    if raw is not None:
                        outer[:, 0] = raw[part]
                    if colour is not None:
                        slope = activation_slope(colours[scene, part], activation)
                        torch.mul(colour[part], slope, out=outer[:, 1:])
                    inner = layers.backward(kept[scene, part], outer)
                    if wants_planes:
                        scatter.add(scene, points[scene, part], inner)
        found = scatter.planes() if wants_planes else None
        return found, None, *layers.gradients(), *(None,) * 6


class _Layers:
    """The backward pass through the decoder's layers, which adds up their own gradients.

    Args:
        w1: [H, C].
        b1: [H].
        w2: [1 + K, H].
        wanted: whether the layers' gradients are wanted.
    """

    def __init__(self, w1: Tensor, b1: Tensor, w2: Tensor, wanted: bool) -> None:
        self._w1, self._b1, self._wanted = w1, b1, wanted
        self._first_back, self._second_back = w1.t().contiguous(), w2.t().contiguous()
        self._sums = [w.new_zeros(w.shape) for w in (w1, b1, w2, w2[:, 0])]

    def backward(self, features: Tensor, outer: Tensor) -> Tensor:
        """Return the gradient [P, C] of features from that of the first rows of the output."""
        hidden = product(features, self._w1, self._b1)
        rows = outer.shape[1]
        inner = product(outer, self._second_back[:, :rows])
        inner *= torch.sigmoid(hidden)
        if self._wanted:
            w1, b1, w2, b2 = self._sums
            w1.addmm_(inner.t(), features)
            b1.add_(inner.sum(0))
            w2[:rows].addmm_(outer.t(), _softplus_(hidden))
            b2[:rows].add_(outer.sum(0))
        return product(inner, self._first_back)

    def gradients(self) -> list[Tensor | None]:
        """Return those of w1, b1, w2 and b2."""
        return [value if self._wanted else None for value in self._sums]


def _live_parts(raw: Tensor | None, colour: Tensor | None, count: int) -> Sequence[Tensor]:
    """Cut the points whose gradient counts into pieces, each an index [P].

    Args:
        raw: [count] gradient of the density, if there is one.
        colour: [count, K] gradient of the colours, if there is one.
        count: points of the scene.
    """
    live = torch.zeros(count, dtype=torch.bool)
    for size in (
        None if raw is None else raw.abs(),
        None if colour is None else colour.abs() @ colour.new_ones(colour.shape[-1]),
    ):
        if size is not None:
            live |= ~(size <= DEAD * size.mean())  # a gradient that is no number counts, too
    return torch.split(live.nonzero()[:, 0], CHUNK)


def _softplus_(x: Tensor) -> Tensor:
    """Overwrite x with `F.softplus(x)`, at half of its cost.

    Where the result is small it has the rounding error of 1, like the sum that it goes into.
    """
    return torch.maximum(torch.clamp_max(x, LINEAR).exp_().add_(1).log_(), x, out=x)
