"""EG3D's camera samplers against the reference."""

from __future__ import annotations

import math

import pytest
import torch

from inv3d.core.camera import intrinsics_matrix
from inv3d.nn.planes.triplane import project
from inv3d.nn.volume import box_limits, fill_misses
from inv3d.plugins.generators.eg3d.poses import (
    equal_area_orbit,
    focal_from_diagonal_fov,
    sample_poses,
)
from tests.golden_cases import GoldenCase

TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def case() -> GoldenCase:
    return GoldenCase("eg3d_cameras")


@pytest.mark.parametrize(("key", "pivoted"), [("lookat", True), ("gaussian_mean", False)])
def test_poses_without_spread(case: GoldenCase, key: str, pivoted: bool) -> None:
    for index, expected in enumerate(case.expected(key)):
        pivot = case.given("pivot")[index].tolist() if pivoted else (0.0, 0.0, 0.0)
        camera = equal_area_orbit(
            case.given("horizontal")[index : index + 1],
            case.given("vertical")[index : index + 1],
            radius=float(case.given("radius")[index]),
            focal=1.0,
            pivot=pivot,
        )
        scale = float(case.given("radius")[index])
        assert (camera.cam2world[0] - expected).abs().max() < TOLERANCE * max(1.0, scale)


def test_random_poses(case: GoldenCase) -> None:
    means = float(case.given("horizontal")[1]), float(case.given("vertical")[1])
    camera = sample_poses(
        5,
        torch.Generator().manual_seed(77),
        mean=means,
        radius=float(case.given("radius")[1]),
        focal=1.0,
        pivot=case.given("pivot")[1].tolist(),
    )
    assert (camera.cam2world - case.expected("lookat_random")).abs().max() < 1e-5


def test_even_poses_lie_within_the_deviation() -> None:
    options = {"mean": (1.2, 1.7), "deviation": (0.5, 0.2), "radius": 2.7, "focal": 1.0}
    camera = sample_poses(2000, torch.Generator().manual_seed(5), spread="uniform", **options)
    horizontal = camera.yaw + math.pi / 2
    vertical = math.pi / 2 * (1 - camera.pitch.sin())
    for found, mean, width in ((horizontal, 1.2, 0.5), (vertical, 1.7, 0.2)):
        apart = (found - mean) / width
        assert float(apart.abs().max()) <= 1 + 1e-4 and abs(float(apart.mean())) < 0.05
        assert abs(float(apart.std()) - 3**-0.5) < 0.02
    draws = torch.Generator().manual_seed(5)
    first = torch.rand(2000, 1, generator=draws)[:, 0] * 2 - 1
    torch.testing.assert_close(horizontal, 1.2 + 0.5 * first, atol=1e-4, rtol=0)


def test_vertical_number_covers_even_areas() -> None:
    vertical = torch.linspace(0.01, 3.13, 50, dtype=torch.float64)
    camera = equal_area_orbit(torch.full_like(vertical, 1.0), vertical, radius=2.0, focal=1.0)
    steps = camera.position[:, 1].diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))


def test_field_of_view(case: GoldenCase) -> None:
    for fov, expected in zip(case.given("fov"), case.expected("intrinsics"), strict=True):
        found = intrinsics_matrix(focal_from_diagonal_fov(float(fov)))[0]
        assert (found - expected).abs().max() < TOLERANCE * float(expected.max())


def test_plane_projections(case: GoldenCase) -> None:
    points = case.given("points")
    for axes, key in (("eg3d", "released"), ("corrected", "issue67_fix")):
        found = project(points, axes)[0]
        assert (found - case.expected(f"projections_{key}")).abs().max() < TOLERANCE


@pytest.mark.parametrize("size", [6, 9])
def test_box_limits(case: GoldenCase, size: int) -> None:
    near, far, hit = box_limits(
        case.expected(f"ray_origins_{size}"), case.expected(f"ray_directions_{size}"), 1.0
    )
    expected_near, expected_far = (case.expected(f"box_{end}_{size}") for end in ("near", "far"))
    assert torch.equal(hit, expected_far > expected_near)
    assert hit.any() and not hit.all()
    assert (near - expected_near)[hit].abs().max() < 1e-5
    assert (far - expected_far)[hit].abs().max() < 1e-5


def test_rays_that_miss_the_box_get_the_limits_of_the_others() -> None:
    near = torch.tensor([[[1.0], [2.0], [9.0]], [[5.0], [5.0], [5.0]]])
    far = torch.tensor([[[3.0], [2.5], [0.0]], [[0.0], [0.0], [0.0]]])
    filled_near, filled_far = fill_misses(near, far, far > near)
    assert filled_near[0, :, 0].tolist() == [1.0, 2.0, 1.0]
    assert filled_far[0, :, 0].tolist() == [3.0, 2.5, 2.0]
    # No ray of the second image hits: the limits are equal, so nothing absorbs.
    assert torch.equal(filled_near[1], filled_far[1])
