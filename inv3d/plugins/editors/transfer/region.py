"""Which places of a scene make a region: those that it changes with.

Nothing is known here of planes or axes. What a region looks like is differentiated with respect to
the parts of the scene, so that any generator will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.core.generator import Generator
from inv3d.core.geometry.masks import blur
from inv3d.core.scene import Scene

# what of a region is looked at: numbers of any shape
Looks = Callable[[Scene], Sequence[Tensor]]
_SPATIAL = 4  # axes of maps [B, C, H, W]; of planes [B, P, C, H, W], of grids [B, P, C, D, H, W]


def box_looks(generator: Generator, box: Sequence[float], grid: int) -> Looks:
    """Return what samples density and colour at points in a box (world units)."""
    low, high = torch.tensor(box[:3]), torch.tensor(box[3:])
    axes = [torch.linspace(float(a), float(b), grid) for a, b in zip(low, high, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, 3)

    def looks(scene: Scene) -> Sequence[Tensor]:
        density, colour = generator.sample(scene, points.to(scene.ws))
        # where it's empty, colours mean nothing; how empty it is, is told by the logarithm
        return density.clamp_min(1e-6).log(), colour

    return looks


def mask_looks(generator: Generator, mask: Tensor, camera: Camera) -> Looks:
    """Return what a camera sees of a scene where a mask [1, 1, H, W] is white."""

    def looks(scene: Scene) -> Sequence[Tensor]:
        image = generator.render(scene, camera.to(scene.ws.device)).require("image")
        return (image * mask.to(image),)

    return looks


def influence(scene: Scene, looks: Looks, probes: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Return how much what is looked at depends on places of a scene.

    Args:
        scene: one.
        looks: at a region.
        probes: random signs, under which nothing cancels in the mean.
        rng: on the CPU.

    Returns:
        Part name -> root mean square of the gradients: of maps, planes and grids over channels;
        of other parts over their last dimension.
    """
    parts = {name: part.detach().requires_grad_(True) for name, part in scene.parts.items()}
    total = {name: torch.zeros_like(part) for name, part in parts.items()}
    with torch.enable_grad():
        for _ in range(probes):
            values = looks(Scene(parts, scene.ws.detach()))
            signed = sum((v * _signs(v, rng)).sum() for v in values)
            assert isinstance(signed, Tensor)
            found = torch.autograd.grad(signed, list(parts.values()), allow_unused=True)
            for name, gradient in zip(parts, found, strict=True):
                if gradient is not None:
                    total[name] += gradient.square()
    return {
        name: (value / probes).mean(_channels(value), keepdim=True).sqrt()
        for name, value in total.items()
    }


def _channels(part: Tensor) -> int:
    """Return the axis of a part's channels."""
    if part.ndim < _SPATIAL:
        return -1
    return 1 if part.ndim == _SPATIAL else 2


def _signs(values: Tensor, rng: torch.Generator) -> Tensor:
    return (torch.randint(2, values.shape, generator=rng) * 2 - 1).to(values)


def region_mask(
    found: Mapping[str, Tensor], threshold: float, feather: int, what: str
) -> dict[str, Tensor]:
    """Turn influence into weights in [0, 1] with soft edges.

    Args:
        found: as `influence` returns it.
        threshold: share of the influence of the upper tenth from which the weight is 1.
        feather: places of the blur of planes, an odd number.
        what: the region, for the message.

    Raises:
        InputError: where nothing has any influence.
    """
    masks: dict[str, Tensor] = {}
    for name, values in found.items():
        some = values[values > 0]
        if not len(some):
            continue
        full = threshold * torch.quantile(some.flatten()[:: max(1, len(some) // 100_000)], 0.9)
        weight = (values / full).clamp(0, 1)
        if weight.ndim >= _SPATIAL and feather > 1:
            flat = weight.reshape(-1, 1, *weight.shape[-2:])
            weight = blur(flat, feather).reshape(weight.shape)
        masks[name] = weight
    if not masks:
        raise InputError(
            f"{what}: nothing of the scene lies there; give a region that has some of the head"
        )
    return masks


def either(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the larger weights of two masks, part by part."""
    both = {n: torch.maximum(first[n], second[n]) for n in first if n in second}
    return {**first, **second, **both}
