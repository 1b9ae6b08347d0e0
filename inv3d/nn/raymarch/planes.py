"""The volume that three planes and a decoder make, with all that a program must know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inv3d.nn.layers import EqualLinear
from inv3d.nn.planes.decoder import Activation, Decoder
from inv3d.nn.planes.triplane import PlaneAxes

# Raw density in the empty margin of a box, as in PanoHead.
EMPTY = -1000.0


@dataclass(frozen=True)
class Layers:
    """A decoder's two layers as they are applied.

    Attributes:
        w1: [H, C].
        b1: [H].
        w2: [1 + N, H], the first row makes the raw density.
        b2: [1 + N].
        activation: of the colours.
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    activation: Activation


@dataclass(frozen=True)
class PlaneVolume:
    """Planes of B scenes and how they're read.

    Attributes:
        planes: [B, 3, C, R, R], or [B, 3, C, D, R, R] with D slices.
        layers: of the decoder.
        axes: which axes the planes span.
        box: side of the cube that the planes cover, world units.
        limit: largest |x| and |z| of points that aren't in the empty margin; None for no margin.
        tf32: on a GPU, products may round their factors to TF32 (10 bits of mantissa).
    """

    planes: Tensor
    layers: Layers
    axes: PlaneAxes
    box: float
    limit: float | None = None
    tf32: bool = False

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What gradients reach: planes, w1, b1, w2, b2."""
        d = self.layers
        return self.planes, d.w1, d.b1, d.w2, d.b2

    def of(self, planes: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> PlaneVolume:
        """Return the same volume of other tensors."""
        return replace(self, planes=planes, layers=replace(self.layers, w1=w1, b1=b1, w2=w2, b2=b2))


def layers_of(decoder: Decoder) -> Layers:
    """Return a decoder's layers with their gains, differentiable."""
    first, second = decoder.net[0], decoder.net[2]
    assert isinstance(first, EqualLinear) and isinstance(second, EqualLinear)
    return Layers(
        first.weight * first.weight_gain,
        first.bias * first.bias_gain,
        second.weight * second.weight_gain,
        second.bias * second.bias_gain,
        decoder.activation,
    )


@dataclass(frozen=True)
class Lines:
    """Rays without their limits.

    Attributes:
        origins: [B, R, 3].
        directions: [B, R, 3], unit length.
    """

    origins: Tensor
    directions: Tensor

    def points(self, depths: Tensor) -> Tensor:
        """Return the points [B, R * S, 3] at distances [B, R, S]."""
        points = self.origins[:, :, None] + self.directions[:, :, None] * depths[..., None]
        return torch.flatten(points, 1, 2)
