"""Facts about a generator's latent space and paths through it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.core.generator import Generator, neutral_condition

_CHUNK = 2000


@dataclass(frozen=True)
class LatentStatistics:
    """Where the latents of a generator lie.

    Attributes:
        mean: [w_dim], the mean latent w_avg.
        spread: one number, the root of the summed squared deviation a sample:
            sqrt(sum |w - mean|^2 / samples), about sqrt(w_dim) times a deviation a dimension.
        deviation: [w_dim], standard deviation a dimension.
    """

    mean: Tensor
    spread: float
    deviation: Tensor


@torch.no_grad()
def latent_statistics(
    generator: Generator,
    samples: int = 10_000,
    *,
    condition: Camera | Tensor | None = None,
    seed: int = 123,
) -> LatentStatistics:
    """Sample z, map it and return the statistics of W.

    Args:
        generator: whose latents.
        samples: number of draws.
        condition: one, as `spec.condition` says; the generator's neutral one if None.
        seed: of the draws.

    Raises:
        InputError: where there's none to draw.
    """
    if samples < 1:
        raise InputError(f"samples: found {samples}, expected 1 or more")
    z = torch.randn(samples, generator.spec.z_dim, generator=torch.Generator().manual_seed(seed))
    rows = []
    for chunk in torch.split(z, _CHUNK):
        given = _repeated(generator, condition, len(chunk))
        ws = generator.map(chunk.to(generator.device, generator.dtype), given)
        rows.append(ws[:, 0].double())
    w = torch.cat(rows)
    mean = w.mean(0)
    difference = w - mean
    spread = float(difference.square().sum().div(samples).sqrt())
    deviation = difference.square().mean(0).sqrt()
    return LatentStatistics(mean.to(generator.dtype), spread, deviation.to(generator.dtype))


def _repeated(
    generator: Generator, condition: Camera | Tensor | None, count: int
) -> Camera | Tensor | None:
    if condition is None:
        return neutral_condition(generator, count)
    if isinstance(condition, Camera):
        return condition.to(generator.device, generator.dtype).repeat_interleave(count)
    return condition.to(generator.device, generator.dtype).expand(count, -1)


@dataclass(frozen=True)
class Places:
    """Where N queries lie among M items: between two of them.

    Attributes:
        lower, upper: [N] index of the two items.
        fraction: [N] in [0, 1], 0 at the lower and 1 at the upper one.
    """

    lower: Tensor
    upper: Tensor
    fraction: Tensor

    def blend(self, values: Tensor) -> Tensor:
        """Return the items' values at the queries, linear in between: [M, ...] to [N, ...]."""
        fraction = self.fraction.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
        lower, upper = self.lower.to(values.device), self.upper.to(values.device)
        return torch.lerp(values[lower], values[upper], fraction.to(values.device))


def between_angles(angles: Tensor, query: Tensor, *, turn: bool = False) -> Places:
    """Find for each query the two angles that bracket it.

    Multi-view inversion paper, section 3.2. Unlike the official code, which takes the two nearest
    cameras, the bracketing pair has no jumps where cameras are unevenly spaced.

    Args:
        angles: [M] radians, in any order, from -pi to pi.
        query: [N] radians, from -pi to pi.
        turn: the angles are a circle: beyond the outermost two, queries lie between these, around
            the back. Otherwise the outermost angle stands for all that is beyond it.

    Example:
        >>> import inv3d, torch
        >>> angles = torch.tensor([-1.0, 0.0, 1.0])
        >>> places = inv3d.between_angles(angles, torch.tensor([0.25, 2.0]))
        >>> places.blend(torch.tensor([10.0, 20.0, 40.0]))
        tensor([25., 40.])
    """
    if len(angles) == 1:
        only = torch.zeros(len(query), dtype=torch.long, device=query.device)
        return Places(only, only, torch.zeros_like(query))
    order = torch.argsort(angles)
    ordered = angles[order]
    if turn:
        order = torch.cat([order[-1:], order, order[:1]])
        ordered = torch.cat([ordered[-1:] - math.tau, ordered, ordered[:1] + math.tau])
    right = torch.searchsorted(ordered, query.contiguous()).clamp(1, len(ordered) - 1)
    low, high = ordered[right - 1], ordered[right]
    fraction = ((query - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return Places(order[right - 1], order[right], fraction)
