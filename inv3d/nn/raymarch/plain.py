"""What rays see of planes, in plain torch: what the Triton programs (`node`) must equal."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.planes.decoder import activate
from inv3d.nn.planes.triplane import sample_planes_plain
from inv3d.nn.raymarch.planes import EMPTY, Lines, PlaneVolume
from inv3d.nn.volume import March, Sums, accumulate


def density_plain(volume: PlaneVolume, lines: Lines, depths: Tensor) -> Tensor:
    """Return the raw density [B, R, S] at distances [B, R, S] along rays."""
    raw, _ = _evaluate(volume, lines.points(depths), colour=False)
    return raw.reshape(depths.shape)


def march_plain(
    volume: PlaneVolume, lines: Lines, depths: Tensor, march: March, colour: bool
) -> Sums:
    """Return what rays add up.

    Args:
        volume: B scenes; gradients reach its tensors.
        lines: B x R rays, without gradient.
        depths: [B, R, S], ascending, without gradient.
        march: density options.
        colour: add up colours too.
    """
    raw, colours = _evaluate(volume, lines.points(depths), colour)
    shaped = None if colours is None else colours.reshape(*depths.shape, -1)
    return accumulate(raw.reshape(depths.shape), shaped, depths, march)


def _evaluate(volume: PlaneVolume, points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
    """Raw density [B, P] and colours [B, P, N] at points [B, P, 3]."""
    d = volume.layers
    sampled = sample_planes_plain(volume.planes, points, volume.axes, volume.box)
    made = F.linear(F.softplus(F.linear(sampled, d.w1, d.b1)), d.w2, d.b2)
    raw, colours = made[..., 0], made[..., 1:]
    if volume.limit is not None:
        outside = (points[..., ::2].abs() > volume.limit).any(dim=-1)
        raw = raw.masked_fill(outside, EMPTY)
    return raw, activate(colours, d.activation) if colour else None
