"""The volume renderer against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inv3d.nn.volume import (
    Composite,
    March,
    Rays,
    coarse_depths,
    composite,
    compositing_weights,
    draw,
    importance_depths,
    render_chunked,
    render_rays,
)


def rays_along_z(count: int, march: March, near: float = 1.0, far: float = 3.0) -> Rays:
    origins = torch.zeros(1, count, 3, dtype=torch.float64)
    origins[..., 0] = torch.arange(count) * 0.01
    directions = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(1, count, 3)
    ends = [torch.full((1, count, 1), value, dtype=torch.float64) for value in (near, far)]
    jitter, positions = draw((1, count), march, "deterministic", origins, None)
    return Rays(origins, directions, *ends, jitter, positions)


def fog(points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
    """Density softplus(2) everywhere; the colour is the height of the point."""
    raw = torch.full(points.shape[:2], 3.0, dtype=points.dtype)
    return raw, points[..., 2:].expand(-1, -1, 3) if colour else None


def ball(points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
    """An opaque ball of radius 0.3 at distance 2."""
    centre = torch.tensor([0.0, 0.0, 2.0], dtype=points.dtype)
    raw = 1e5 * (0.3 - torch.linalg.vector_norm(points - centre, dim=-1))
    return raw, torch.ones_like(points) * 0.5 if colour else None


def test_fog_absorbs_exponentially() -> None:
    march = March(200, 0)
    rays = rays_along_z(1, march)
    seen = render_rays(fog, rays, march, True)
    density = math.log1p(math.exp(2.0))
    depths = coarse_depths(rays, march)
    start, length = float(depths[0, 0, 0]), float(depths[0, 0, -1] - depths[0, 0, 0])
    opacity = 1 - math.exp(-density * length)
    assert float(seen.opacity) == pytest.approx(opacity, rel=1e-9)
    mean = 1 / density - length * math.exp(-density * length) / opacity
    assert float(seen.depth) == pytest.approx(start + mean, rel=1e-4)
    # Colour equals distance here, and is composited without division, then scaled to -1..1.
    assert seen.features is not None
    assert float(seen.features[0, 0, 0]) == pytest.approx(
        2 * float(seen.depth) * opacity - 1, rel=1e-6
    )


def test_white_is_added_behind_the_volume() -> None:
    march = March(8, 0)
    rays = rays_along_z(1, march)
    plain = render_rays(fog, rays, march, True)
    white = render_rays(fog, rays, March(8, 0, white_back=True), True)
    assert plain.features is not None and white.features is not None
    torch.testing.assert_close(
        white.features - plain.features, 2 * (1 - plain.opacity)[..., None].expand(1, 1, 3)
    )


def test_features_may_stay_as_they_are() -> None:
    rays = rays_along_z(1, March(8, 0))
    scaled = render_rays(fog, rays, March(8, 0), True)
    plain = render_rays(fog, rays, March(8, 0, signed=False), True)
    assert scaled.features is not None and plain.features is not None
    torch.testing.assert_close(scaled.features, plain.features * 2 - 1)


def test_density_scale_and_gain() -> None:
    raw = torch.tensor([[0.3, 0.9]], dtype=torch.float64)
    depths = torch.tensor([[1.0, 1.1]], dtype=torch.float64)
    weights = compositing_weights(raw, depths, March(2, 0, density_gain=2, density_scale=40))
    expected = 1 - math.exp(-math.log1p(math.exp(2 * 0.6 - 1)) * 0.1 * 40)
    assert float(weights) == pytest.approx(expected)


def test_samples_may_come_in_any_order() -> None:
    rng = torch.Generator().manual_seed(0)
    depths = torch.rand(1, 3, 9, generator=rng, dtype=torch.float64).sort(dim=-1).values + 1
    raw = torch.randn(1, 3, 9, generator=rng, dtype=torch.float64)
    colour = torch.rand(1, 3, 9, 4, generator=rng, dtype=torch.float64)
    order = torch.randperm(9, generator=rng)
    march = March(9, 0)
    first = composite(raw, colour, depths, march)
    second = composite(raw[..., order], colour[:, :, order], depths[..., order], march)
    assert first.features is not None and second.features is not None
    torch.testing.assert_close(first.features, second.features)
    torch.testing.assert_close(first.depth, second.depth)
    # The definition: intervals with the mean colour and the mean distance of their ends.
    weights = compositing_weights(raw, depths, march)
    middle = (colour[:, :, 1:] + colour[:, :, :-1]) / 2
    expected = (weights[..., None] * middle).sum(dim=2) * 2 - 1
    torch.testing.assert_close(first.features, expected)
    distance = (weights * (depths[..., 1:] + depths[..., :-1]) / 2).sum(-1) / weights.sum(-1)
    torch.testing.assert_close(first.depth, distance)


def test_empty_rays_end_at_their_far_end_with_finite_gradients() -> None:
    raw = torch.full((1, 1, 5), -1e4, requires_grad=True)
    depths = torch.linspace(1, 2, 5)[None, None]
    seen = composite(raw, None, depths, March(5, 0))
    assert seen.opacity.item() == 0.0 and seen.depth.item() == 2.0
    (seen.depth.sum() + seen.opacity.sum()).backward()
    assert raw.grad is not None and raw.grad.isfinite().all()


def test_depth_stays_inside_the_ray() -> None:
    rng = torch.Generator().manual_seed(3)
    raw = torch.randn(1, 50, 12, generator=rng) * 200
    depths = torch.rand(1, 50, 12, generator=rng).sort(dim=-1).values + 1
    seen = composite(raw, None, depths, March(12, 0))
    low, high = depths.amin(-1), depths.amax(-1)
    assert (seen.depth >= low - 1e-6).all() and (seen.depth <= high + 1e-6).all()


def test_fine_samples_gather_where_the_weights_are() -> None:
    depths = torch.linspace(1, 2, 21)[None, None]
    weights = torch.zeros(1, 1, 20)
    weights[..., 12] = 1.0
    fine = importance_depths(depths, weights, torch.linspace(0, 1, 101)[None, None])
    assert (fine.diff(dim=-1) >= 0).all()
    near = ((fine - 1.625).abs() < 0.11).float().mean()
    assert near > 0.8


def test_coarse_depths_in_disparity() -> None:
    march = March(4, 0, disparity=True)
    depths = coarse_depths(rays_along_z(1, march), march)
    shares = (torch.arange(4, dtype=torch.float64) + 0.5) / 3
    torch.testing.assert_close(1 / depths[0, 0], 1 - shares + shares / 3)


def test_guide_finds_the_surface_with_fewer_colours() -> None:
    counts: list[tuple[int, bool, bool]] = []

    def watched(points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
        counts.append((points.shape[1], colour, torch.is_grad_enabled()))
        return ball(points, colour)

    merged = render_rays(ball, rays_along_z(3, March(24, 24)), March(24, 24), True)
    march = March(24, 24, guide=True)
    guided = render_rays(watched, rays_along_z(3, march), march, True)
    assert counts == [(72, False, False), (72, True, True)]
    assert (merged.depth - guided.depth).abs().max() < 0.01
    torch.testing.assert_close(merged.opacity, guided.opacity, atol=1e-3, rtol=0)
    assert float(guided.depth[0, 0]) == pytest.approx(1.7, abs=0.03)


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("colour", [False, True])
def test_chunks_change_nothing(chunk: int, colour: bool) -> None:
    march = March(8, 8)
    rays = rays_along_z(7, march)
    whole = render_rays(ball, rays, march, colour)
    parts = render_chunked(ball, rays, march, colour, chunk)
    assert torch.equal(whole.depth, parts.depth) and torch.equal(whole.opacity, parts.opacity)
    if colour:
        assert whole.features is not None and parts.features is not None
        torch.testing.assert_close(whole.features, parts.features)
    else:
        assert parts.features is None


class Light:
    """A field that says that it keeps little of its samples; it counts the rays that come."""

    def __init__(self) -> None:
        self.rays: list[int] = []
        self.size = torch.ones((), requires_grad=True)

    def __call__(self, points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
        return ball(points * self.size, colour)

    def keeps_little(self, rays: Rays) -> bool:
        return len(rays.origins) == 1

    def render_rays(self, rays: Rays, march: March, colour: bool) -> Composite:
        self.rays.append(rays.origins.shape[1])
        return render_rays(self.__call__, rays, march, colour)


def test_of_rays_of_which_little_is_kept_more_come_at_once() -> None:
    march, field = March(8, 8), Light()
    rays = rays_along_z(7, march)
    whole = render_rays(ball, rays, march, True)
    for light, taken in ((9, [7]), (3, [3, 3, 1]), (1, [3, 3, 1])):
        for again in (False, True):
            field.rays.clear()
            seen = render_chunked(field, rays, march, True, 3, checkpoint=again, light=light)
            assert field.rays == taken and torch.equal(seen.depth, whole.depth)
            seen.depth.sum().backward()
            # samples aren't kept where they are to be computed again
            assert sorted(field.rays) == sorted(taken * (2 if again else 1))


def test_random_draws_are_the_generators_own() -> None:
    march, like = March(4, 5), torch.zeros(1)
    state = torch.random.get_rng_state()
    jitter, positions = draw((2, 3), march, "stochastic", like, torch.Generator().manual_seed(1))
    assert jitter.shape == (2, 3, 4) and positions.shape == (2, 3, 5)
    assert (jitter >= 0).all() and (jitter < 1).all()
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match=r"generator\.rng"):
        draw((2, 3), march, "stochastic", like, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_the_formula_from_nothing_to_opaque(dtype: torch.dtype) -> None:
    """Densities whose exponentials would be subnormal, the smallest normal ones, and walls."""
    raw = torch.tensor([-2000.0, -720, -100, -88, -60, -20, -3, 0, 30, 500, 0, -60, -1000])
    raw, depths = raw.to(dtype).requires_grad_(), torch.arange(13, dtype=dtype)
    found = compositing_weights(raw, depths, March(13, 0))
    exact = raw.detach().double().requires_grad_()
    middle = (exact[1:] + exact[:-1]) / 2
    absorption = torch.nn.functional.softplus(middle - 1)
    before = absorption.cumsum(0) - absorption
    expected = torch.exp(-before) * -torch.expm1(-absorption)
    # e^-x of a float32 x of about 80 has the digits that x has behind the point
    torch.testing.assert_close(found, expected.to(dtype), atol=1e-34, rtol=2e-5)
    slope = torch.linspace(1, 2, 12, dtype=torch.float64)
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    noise = torch.finfo(dtype).eps  # of differences of numbers of about one
    torch.testing.assert_close(raw.grad, exact.grad.to(dtype), atol=noise, rtol=2e-5)


def test_densities_are_never_subnormal() -> None:
    raw = torch.linspace(-120.0, -60.0, 1000)
    density = March(2, 0).density(raw)
    assert ((density == 0) | (density >= torch.finfo(torch.float32).tiny)).all()
    assert (density[raw > -80] > 0).all() and (density[raw < -90] == 0).all()
