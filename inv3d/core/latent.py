"""Facts about a generator's latent space and paths through it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.generator import Generator

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
    camera: Camera | None = None,
    seed: int = 123,
) -> LatentStatistics:
    """Sample z, map it and return the statistics of W.

    Args:
        generator: whose latents.
        samples: number of draws.
        camera: one conditioning camera; the frontal camera of the generator's prior if None.
        seed: of the draws.
    """
    like = next(generator.parameters())
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.spec.z_dim, generator=rng)
    camera = (camera or generator.spec.camera.front()).to(like.device, like.dtype)
    rows = []
    for chunk in torch.split(z, _CHUNK):
        view = camera.repeat_interleave(len(chunk))
        rows.append(generator.map(chunk.to(like), view)[:, 0].double())
    w = torch.cat(rows)
    mean = w.mean(0)
    difference = w - mean
    spread = float(difference.square().sum().div(samples).sqrt())
    deviation = difference.square().mean(0).sqrt()
    return LatentStatistics(mean.to(like.dtype), spread, deviation.to(like.dtype))


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
