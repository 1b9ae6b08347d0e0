"""Volume rendering as in EG3D: stratified and importance samples, quadrature at midpoints.

Nothing here knows what a volume is made of: it's a `Field`, a function of points. `render_chunked`
renders `Rays` through it as a `March` says; where rays begin and end is told by `box_limits`, the
numbers that place their samples by `draw`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as run_checkpointed

from inv3d.nn.choices import Sampling
from inv3d.nn.ray_sum import ray_sum
from inv3d.nn.vector_math import wake

wake()

# What is rendered. World points [B, P, 3] of B scenes, and whether colours are wanted -> raw
# density [B, P], before `March.density`, and features [B, P, C], None unless wanted. Each point by
# itself: points come in chunks, in any number. A field that also has a method `render_rays` (of
# rays, march and colour, as the function below) is asked for whole rays first; it may return None.
Field = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]

# Absorption behind which nothing is seen, with e^-80 of the light; the exponential of much more is
# a subnormal number, for which CPUs take ten times as long.
OPAQUE = 80.0


@dataclass(frozen=True)
class March:
    """How rays are sampled and composited.

    Attributes:
        coarse: samples of the first pass.
        fine: importance samples, 0 for none.
        disparity: space coarse samples evenly in 1 / depth.
        guide: use the first pass only to place the fine samples (no gradient, no colours); else
            both passes are composited, as EG3D does.
        density_gain: factor of the raw density inside the softplus (EG3D: 1).
        density_scale: factor of the density (EG3D: 1).
        white_back: add what the ray doesn't absorb to all features.
        signed: bring composited features from [0, 1] to [-1, 1], as EG3D does.
    """

    coarse: int
    fine: int
    disparity: bool = False
    guide: bool = False
    density_gain: float = 1.0
    density_scale: float = 1.0
    white_back: bool = False
    signed: bool = True

    def density(self, raw: Tensor) -> Tensor:
        """Return the density a world unit of length for raw decoder output.

        It's zero where the softplus would be a subnormal number, of which CPUs are slow to make
        anything.
        """
        lowest = math.log(torch.finfo(raw.dtype).tiny)
        inner = F.threshold(raw * self.density_gain - 1, lowest, -math.inf)
        return F.softplus(inner) * self.density_scale


@dataclass(frozen=True)
class Rays:
    """A batch of B x R rays with the random numbers that place their samples.

    Attributes:
        origins: [B, R, 3].
        directions: [B, R, 3], unit length.
        near: [B, R, 1] distance of the first sample.
        far: [B, R, 1].
        jitter: [B, R, coarse] or broadcastable, position inside a bin, 0 to 1.
        positions: [B, R, fine] or broadcastable, 0 to 1 along the cumulated weights.
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    jitter: Tensor
    positions: Tensor

    def split(self, size: int) -> list[Rays]:
        """Cut along the ray dimension."""
        count = self.origins.shape[1]
        if size >= count:
            return [self]
        return [self._part(start, start + size) for start in range(0, count, size)]

    def _part(self, start: int, stop: int) -> Rays:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        cut = {n: v if v.shape[1] == 1 else v[:, start:stop] for n, v in values.items()}
        return replace(self, **cut)


@dataclass(frozen=True)
class Composite:
    """What rays see.

    Attributes:
        features: [B, R, C], None unless colours were wanted.
        depth: [B, R] expected distance along the ray.
        opacity: [B, R] in [0, 1].
    """

    features: Tensor | None
    depth: Tensor
    opacity: Tensor


def box_limits(origins: Tensor, directions: Tensor, box: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return where rays enter and leave the box, and whether they hit it, each [..., 1].

    Args:
        origins: [..., 3].
        directions: [..., 3].
        box: side of the cube around the origin, world units.
    """
    tiny = torch.finfo(directions.dtype).tiny ** 0.5
    safe = torch.where(directions.abs() < tiny, torch.full_like(directions, tiny), directions)
    first, second = (-box / 2 - origins) / safe, (box / 2 - origins) / safe
    near = torch.minimum(first, second).amax(dim=-1, keepdim=True)
    far = torch.maximum(first, second).amin(dim=-1, keepdim=True)
    return near, far, far > near


def fill_misses(near: Tensor, far: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
    """Give rays that miss the box the limits that EG3D gives them.

    Their near is the smallest near of the hitting rays and their far the *largest near*, over
    dimension 1: one call for the rays that count as one image.

    Args:
        near: [G, R, 1].
        far: [G, R, 1].
        hit: [G, R, 1].
    """
    infinity = torch.full_like(near, torch.inf)
    least = torch.where(hit, near, infinity).amin(dim=1, keepdim=True)
    most = torch.where(hit, near, -infinity).amax(dim=1, keepdim=True)
    none = ~hit.any(dim=1, keepdim=True)
    least, most = least.masked_fill(none, 0.0), most.masked_fill(none, 0.0)
    return torch.where(hit, near, least), torch.where(hit, far, most)


def draw(
    shape: tuple[int, int],
    march: March,
    sampling: Sampling,
    like: Tensor,
    rng: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Return the numbers that place the samples: jitter and positions.

    Args:
        shape: [B, R].
        march: sample counts.
        sampling: "deterministic" takes bin centres and evenly spaced positions.
        like: gives device and type.
        rng: source of the random numbers of "stochastic".

    Raises:
        ValueError: for stochastic sampling without `rng`.
    """
    if sampling == "deterministic":
        jitter = like.new_full((1, 1, 1), 0.5)
        return jitter, torch.linspace(0, 1, march.fine, device=like.device).to(like)[None, None]
    if rng is None:
        raise ValueError("stochastic sampling needs a torch.Generator: set generator.rng")
    counts = (march.coarse, march.fine)
    jitter, positions = (
        torch.rand(*shape, count, generator=rng, device=rng.device).to(like) for count in counts
    )
    return jitter, positions


def coarse_depths(rays: Rays, march: March) -> Tensor:
    """Return [B, R, coarse] distances: near + (i + jitter) (far - near) / (coarse - 1).

    Bins are (far - near) / (coarse - 1) wide, so the last sample lies beyond `far`, as in EG3D.
    """
    steps = torch.arange(march.coarse, device=rays.near.device, dtype=rays.near.dtype)
    if march.disparity:
        t = (steps + rays.jitter) / (march.coarse - 1)
        return 1 / (1 / rays.near * (1 - t) + 1 / rays.far * t)
    # In the order of the reference: where surfaces are sharp, the last bit of a depth is visible.
    width = (rays.far - rays.near) / (march.coarse - 1)
    return rays.near + steps * width + rays.jitter * width


def compositing_weights(raw: Tensor, depths: Tensor, march: March) -> Tensor:
    """Return the weights of the intervals between samples, [..., S - 1].

    Args:
        raw: [..., S] raw density; an interval has the mean of its ends.
        depths: [..., S], ascending.
        march: density options.
    """
    raw_mid = (raw[..., 1:] + raw[..., :-1]) / 2
    absorption = march.density(raw_mid) * depths.diff(dim=-1)
    before = absorption.cumsum(dim=-1) - absorption
    return torch.exp(-before.clamp_max(OPAQUE)) * _absorbed(absorption)


def _absorbed(absorption: Tensor) -> Tensor:
    """Return 1 - exp(-absorption) to the last digit.

    Of tiny numbers it's the number itself; expm1 takes ten times as long for them on CPUs.
    """
    least = torch.finfo(absorption.dtype).eps
    tiny = absorption < least
    return torch.where(tiny, absorption, -torch.expm1(-absorption.masked_fill(tiny, least)))


def importance_depths(depths: Tensor, weights: Tensor, positions: Tensor) -> Tensor:
    """Draw distances where the weights of a coarse pass are large (inverse transform sampling).

    Args:
        depths: [..., S] coarse distances.
        weights: [..., S - 1].
        positions: [..., F] in [0, 1], or broadcastable.

    Returns:
        [..., F] distances, without gradient.
    """
    shape = (*depths.shape[:-1], positions.shape[-1])
    positions = positions.expand(shape).reshape(-1, shape[-1]).contiguous()
    padded = F.pad(weights.detach().reshape(-1, weights.shape[-1]), (1, 1))
    largest = torch.maximum(padded[:, 1:], padded[:, :-1])
    smooth = (largest[:, 1:] + largest[:, :-1]) / 2 + 0.01
    mid = ((depths[..., 1:] + depths[..., :-1]) / 2).detach().reshape(-1, depths.shape[-1] - 1)
    inner = smooth[:, 1:-1] + 1e-5
    cdf = F.pad((inner / inner.sum(dim=-1, keepdim=True)).cumsum(dim=-1), (1, 0))
    above = torch.searchsorted(cdf, positions, right=True)
    below = (above - 1).clamp_min(0)
    above = above.clamp_max(inner.shape[-1])
    low, high = cdf.gather(1, below), cdf.gather(1, above)
    start, stop = mid.gather(1, below), mid.gather(1, above)
    width = high - low
    width = torch.where(width < 1e-5, torch.ones_like(width), width)
    return (start + (positions - low) / width * (stop - start)).reshape(shape)


@dataclass(frozen=True)
class Sums:
    """Sums over the intervals of rays, each times the weight of its interval.

    Attributes:
        features: [B, R, C], of mean features; None unless colours were wanted.
        distance: [B, R], of the distances of centres.
        opacity: [B, R], of ones.
    """

    features: Tensor | None
    distance: Tensor
    opacity: Tensor


def accumulate(raw: Tensor, features: Tensor | None, depths: Tensor, march: March) -> Sums:
    """Add up samples in any order along each ray.

    Args:
        raw: [B, R, S] raw density.
        features: [B, R, S, C] or None.
        depths: [B, R, S].
        march: density options.
    """
    depths, order = depths.sort(dim=-1)
    weights = compositing_weights(raw.gather(-1, order), depths, march)
    opacity = weights.sum(dim=-1)
    distance = (weights * (depths[..., 1:] + depths[..., :-1]) / 2).sum(dim=-1)
    if features is None:
        return Sums(None, distance, opacity)
    # An interval has the mean colour of its ends: give each end half of its weight, then no
    # feature has to be sorted.
    halves = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    halves = torch.zeros_like(halves).scatter(-1, order, halves)
    return Sums(ray_sum(halves, features), distance, opacity)


def finish(sums: Sums, depths: Tensor, march: March) -> Composite:
    """Turn sums into what rays see.

    The depth is the mean centre of intervals, or the far end of the ray where nothing absorbs. EG3D
    clamps it to the extremes of the whole batch, which only ever moves rays without opacity.

    Args:
        sums: over the intervals.
        depths: [B, R, S] distances of the samples, in any order.
        march: background options.
    """
    opacity = sums.opacity
    empty = opacity <= torch.finfo(opacity.dtype).tiny
    mean = sums.distance / torch.where(empty, torch.ones_like(opacity), opacity)
    depth = torch.where(empty, depths.detach().amax(dim=-1), mean)
    colour = sums.features
    if colour is None:
        return Composite(None, depth, opacity)
    if march.white_back:
        colour = colour + (1 - opacity)[..., None]
    return Composite(colour * 2 - 1 if march.signed else colour, depth, opacity)


def composite(raw: Tensor, features: Tensor | None, depths: Tensor, march: March) -> Composite:
    """Composite samples in any order along each ray.

    Args:
        raw: [B, R, S] raw density.
        features: [B, R, S, C] or None.
        depths: [B, R, S].
        march: density and background options.
    """
    return finish(accumulate(raw, features, depths, march), depths, march)


def render_depths(
    field: Field, rays: Rays, depths: Tensor, march: March, colour: bool
) -> Composite:
    """Evaluate the field at given distances and composite.

    Args:
        field: what is rendered.
        rays: B x R rays.
        depths: [B, R, S] distances along the rays, in any order.
        march: density and background options.
        colour: composite features too.
    """
    raw, features = _evaluate(field, rays, depths, colour)
    return composite(raw, features, depths, march)


def render_rays(field: Field, rays: Rays, march: March, colour: bool) -> Composite:
    """Render rays with a coarse and, if there is one, a fine pass.

    Args:
        field: what is rendered.
        rays: B x R rays.
        march: how many samples, and how they're composited.
        colour: composite features too.
    """
    whole = getattr(field, "render_rays", None)
    seen: Composite | None = None if whole is None else whole(rays, march, colour)
    if seen is not None:
        return seen
    depths = coarse_depths(rays, march)
    if march.fine == 0:
        return render_depths(field, rays, depths, march, colour)
    if march.guide:
        with torch.no_grad():
            raw, _ = _evaluate(field, rays, depths, False)
            fine = fine_depths(rays, raw, depths, march)
        return render_depths(field, rays, fine, march, colour)
    raw, features = _evaluate(field, rays, depths, colour)
    fine = fine_depths(rays, raw, depths, march)
    raw_fine, features_fine = _evaluate(field, rays, fine, colour)
    both = None
    if features is not None and features_fine is not None:
        both = torch.cat([features, features_fine], dim=2)
    return composite(torch.cat([raw, raw_fine], -1), both, torch.cat([depths, fine], -1), march)


def fine_depths(rays: Rays, raw: Tensor, depths: Tensor, march: March) -> Tensor:
    """Return the distances [B, R, fine] of the second pass, from raw density at the first one's."""
    with torch.no_grad():
        weights = compositing_weights(raw, depths, march)
        return importance_depths(depths, weights, rays.positions)


def _evaluate(
    field: Field, rays: Rays, depths: Tensor, colour: bool
) -> tuple[Tensor, Tensor | None]:
    points = rays.origins[:, :, None] + rays.directions[:, :, None] * depths[..., None]
    batch, count, samples, _ = points.shape
    raw, features = field(points.reshape(batch, count * samples, 3), colour)
    if features is not None:
        features = features.reshape(batch, count, samples, features.shape[-1])
    return raw.reshape(batch, count, samples), features


def render_chunked(
    field: Field,
    rays: Rays,
    march: March,
    colour: bool,
    chunk: int,
    checkpoint: bool = False,
    light: int = 0,
) -> Composite:
    """Render rays in chunks; the result doesn't depend on their size.


    Args:
        field: what is rendered.
        rays: B x R rays.
        march: how.
        colour: composite features too.
        chunk: rays a scene at a time.
        checkpoint: recompute each chunk in the backward pass instead of keeping its samples.
        light: rays a scene at a time of a field that keeps little of its samples, if they're more.
    """
    parts = []
    keeps_little = getattr(field, "keeps_little", None)
    if keeps_little is not None and keeps_little(rays):
        chunk = max(chunk, light)
    for part in rays.split(chunk):
        if checkpoint and torch.is_grad_enabled():
            parts.append(
                run_checkpointed(
                    render_rays,
                    field,
                    part,
                    march,
                    colour,
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            )
        else:
            parts.append(render_rays(field, part, march, colour))
    if len(parts) == 1:
        return parts[0]
    features = [p.features for p in parts if p.features is not None]
    return Composite(
        torch.cat(features, 1) if features else None,
        torch.cat([p.depth for p in parts], 1),
        torch.cat([p.opacity for p in parts], 1),
    )
