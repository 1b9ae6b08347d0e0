"""Facts about a generator's latent space and paths through it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inv3d.core.camera import Camera
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
    """
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


def interpolate_by_angle(ws: Tensor, angles: Tensor, query: Tensor) -> Tensor:
    """Return latents at angles, linear between the two that bracket each angle.

    Multi-view inversion paper, section 3.2. Unlike the official code, which takes the two nearest
    cameras, the bracketing pair has no jumps where cameras are unevenly spaced.

    Args:
        ws: [M, num_ws, w_dim].
        angles: [M] radians, of the cameras that the latents belong to, in any order.
        query: [N] radians; beyond the outermost camera its latent is taken as it is.

    Returns:
        [N, num_ws, w_dim].
    """
    if len(ws) == 1:
        return ws.expand(len(query), *ws.shape[1:])
    lower, upper, fraction = bracket(angles, query)
    return torch.lerp(ws[lower], ws[upper], fraction.to(ws.dtype)[:, None, None])


def bracket(angles: Tensor, query: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each query the indices of its two neighbours among `angles` and its place.

    Args:
        angles: [M], M >= 2, in any order.
        query: [N].

    Returns:
        Two index tensors [N] and the fraction [N] in [0, 1] from the first to the second.
    """
    order = torch.argsort(angles)
    ordered = angles[order]
    right = torch.searchsorted(ordered, query.contiguous()).clamp(1, len(angles) - 1)
    low, high = ordered[right - 1], ordered[right]
    fraction = ((query - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return order[right - 1], order[right], fraction
