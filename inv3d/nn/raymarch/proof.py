"""Whether the programs for rays work on a device: a small volume by them and by plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from inv3d.nn.raymarch.plain import density_plain, march_plain
from inv3d.nn.raymarch.planes import Lines, PlaneVolume
from inv3d.nn.trial import error_of, passed
from inv3d.nn.volume import March, Sums

Densities = Callable[[PlaneVolume, Lines, Tensor], Tensor]
Marching = Callable[[PlaneVolume, Lines, Tensor, March, bool], Sums]

# Largest error in units of the largest number: of float32 with a wide margin, and of TF32.
TOLERANCE, TOLERANCE_TF32 = 1e-3, 5e-2
_MARCH = March(coarse=19, fine=0)  # more than a program decodes
_NAMES = (
    "density", "colour", "distance", "opacity", "the planes' gradient",
    "the first layer's gradient", "the first bias' gradient", "the second layer's gradient",
    "the second bias' gradient",
)  # fmt: skip


def proven(volume: PlaneVolume) -> bool:
    """Whether the programs for such a volume work on its device; see `trial.passed`."""
    layers, planes = volume.layers, volume.planes
    key = (
        "rays", planes.device, planes.ndim, volume.axes, volume.limit is None, volume.tf32,
        layers.w1.shape, layers.w2.shape, layers.activation,
        torch.are_deterministic_algorithms_enabled(),
    )  # fmt: skip
    return passed(key, "rendering rays", lambda: fault_of(volume))


def fault_of(volume: PlaneVolume) -> str | None:
    """Return in a line what the programs for such a volume find wrongly, None if nothing.

    Raises:
        Exception: what compiling and launching them raises.
    """
    from inv3d.nn.raymarch import node

    small = _small(volume)
    exact = small.of(*(tensor.double().cpu() for tensor in small.tensors()))
    most = TOLERANCE_TF32 if volume.tf32 else TOLERANCE
    found, expected = (
        _made(small, node.density, node.march),
        _made(exact, density_plain, march_plain),
    )
    for name, value, wanted in zip(_NAMES, found, expected, strict=True):
        off = error_of(value, wanted)
        if not off <= most:
            return f"{name} is off by {off:.1e} of its largest value on {volume.planes.device}"
    return None


def _small(volume: PlaneVolume) -> PlaneVolume:
    """Random planes and layers like those of a volume, of a few texels, that make small numbers."""
    rng = torch.Generator().manual_seed(0)
    planes, w1, b1, w2, b2 = volume.tensors()
    size = torch.Size((2, 3, *planes.shape[2:-2], 8, 8))
    shapes = [size, w1.shape, b1.shape, w2.shape, b2.shape]
    drawn = [torch.randn(shape, generator=rng, device="cpu") for shape in shapes]
    drawn[1] /= w1.shape[1] ** 0.5
    drawn[3] /= w2.shape[1] ** 0.5
    limit = None if volume.limit is None else volume.box / 3
    return replace(volume, limit=limit).of(*(tensor.to(planes.device) for tensor in drawn))


def _made(volume: PlaneVolume, density: Densities, march: Marching) -> list[Tensor]:
    """Raw densities, sums, and the gradients of a weighted total, of 2 x 33 rays."""
    rng = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=rng, device="cpu") - 0.5).to(volume.planes)

    lines = Lines(drawn(2, 33, 3) * volume.box, drawn(2, 33, 3))
    depths = (drawn(2, 33, _MARCH.coarse) * volume.box).sort(dim=-1).values
    leaves = [tensor.detach().requires_grad_() for tensor in volume.tensors()]
    volume = volume.of(*leaves)
    seen = march(volume, lines, depths, _MARCH, True)
    assert seen.features is not None
    sums = [seen.features, seen.distance, seen.opacity]
    worth = [drawn(*value.shape) for value in sums]
    return [density(volume, lines, depths), *sums, *torch.autograd.grad(sums, leaves, worth)]
