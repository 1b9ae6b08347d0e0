"""Cameras: golden rays, and what must hold for every camera."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inv3d.core.camera import (
    Camera,
    CameraPrior,
    focal_from_fov,
    interpolate,
    intrinsics_matrix,
    look_at,
    orbit,
)
from inv3d.core.errors import InputError
from tests.golden_cases import GoldenCase

DOUBLE = torch.float64
ANGLES = st.floats(-math.pi, math.pi, allow_nan=False)
PITCHES = st.floats(-1.4, 1.4, allow_nan=False)
RADII = st.floats(0.5, 10.0)
FOCALS = st.floats(0.5, 8.0)
OFFSETS = st.floats(-0.3, 0.3)


@st.composite
def cameras(draw: st.DrawFn) -> Camera:
    """One camera on an orbit, with skew, two focal lengths and an off-centre principal point."""
    camera = orbit(
        torch.tensor([draw(ANGLES)], dtype=DOUBLE),
        draw(PITCHES),
        radius=draw(RADII),
        focal=1.0,
        pivot=[draw(OFFSETS) for _ in range(3)],
    )
    intrinsics = camera.intrinsics.clone()
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = draw(FOCALS), draw(FOCALS)
    intrinsics[:, 0, 1] = draw(st.floats(-0.2, 0.2))
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 0.5 + draw(OFFSETS), 0.5 + draw(OFFSETS)
    return Camera(camera.cam2world, intrinsics)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    return bool((found - expected).abs().max() < tolerance)


@pytest.mark.parametrize("size", [6, 9])
def test_golden_rays(size: int) -> None:
    case = GoldenCase("eg3d_cameras")
    origins, directions = Camera.from_labels(case.given("labels")).rays(size)
    assert close(origins, case.expected(f"ray_origins_{size}"), 1e-6)
    assert close(directions, case.expected(f"ray_directions_{size}"), 1e-6)


def test_golden_labels_are_orbits() -> None:
    """The first three golden labels are look-at cameras with a known radius."""
    case = GoldenCase("eg3d_cameras")
    camera = Camera.from_labels(case.given("labels"))[:3]
    again = look_at(camera.position, torch.zeros(3) + case.given("pivot")[:3], camera.intrinsics)
    assert close(again.cam2world, camera.cam2world, 1e-6)
    assert close(camera.radius, torch.full((3,), 2.7), 1e-5)


@settings(deadline=None)
@given(cameras())
def test_labels_round_trip(camera: Camera) -> None:
    labels = camera.labels()
    again = Camera.from_labels(labels)
    assert labels.shape == (1, 25)
    assert torch.equal(again.cam2world, camera.cam2world)
    assert torch.equal(again.intrinsics, camera.intrinsics)


@settings(deadline=None)
@given(cameras())
def test_rotation_is_orthonormal_and_upright(camera: Camera) -> None:
    rotation = camera.rotation[0]
    assert close(rotation @ rotation.T, torch.eye(3, dtype=DOUBLE))
    assert torch.det(rotation) == pytest.approx(1.0)
    right, down = rotation[:, 0], rotation[:, 1]
    assert right[1].abs() < 1e-9
    assert down[1] <= 0


@settings(deadline=None)
@given(
    cameras(),
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 20)), min_size=1, max_size=6
    ),
)
def test_unproject_then_project(camera: Camera, seen: list[tuple[float, float, float]]) -> None:
    values = torch.tensor(seen, dtype=DOUBLE)
    uv, distance = values[None, :, :2], values[None, :, 2]
    points = camera.unproject(uv, distance)
    found, z = camera.project(points)
    assert close(found, uv, 1e-7)
    assert (z > 0).all()
    away = torch.linalg.vector_norm(points - camera.position[:, None], dim=-1)
    assert close(away, distance, 1e-8)


@settings(deadline=None)
@given(cameras(), st.integers(1, 5))
def test_rays_go_through_pixel_centres(camera: Camera, size: int) -> None:
    origins, directions = camera.rays(size)
    assert origins.shape == directions.shape == (1, size * size, 3)
    assert close(torch.linalg.vector_norm(directions, dim=-1), torch.ones(1, size * size))
    uv, _ = camera.project(origins + 2.5 * directions)
    centres = (torch.arange(size, dtype=DOUBLE) + 0.5) / size
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    assert close(uv[0], torch.stack([columns.flatten(), rows.flatten()], dim=-1), 1e-8)


@settings(deadline=None)
@given(ANGLES, PITCHES, RADII, FOCALS)
def test_orbit_has_the_angles_it_was_given(
    yaw: float, pitch: float, radius: float, focal: float
) -> None:
    camera = orbit(torch.tensor([yaw], dtype=DOUBLE), pitch, radius=radius, focal=focal)
    turn = float(camera.yaw[0]) - yaw
    assert math.cos(turn) == pytest.approx(1.0)
    assert float(camera.pitch[0]) == pytest.approx(pitch, abs=1e-9)
    assert float(camera.radius[0]) == pytest.approx(radius)
    assert float(camera.intrinsics[0, 0, 0]) == pytest.approx(focal)


@settings(deadline=None)
@given(ANGLES, PITCHES, RADII, st.tuples(OFFSETS, OFFSETS, OFFSETS))
def test_orbit_looks_at_its_pivot(
    yaw: float, pitch: float, radius: float, pivot: tuple[float, float, float]
) -> None:
    camera = orbit(torch.tensor([yaw], dtype=DOUBLE), pitch, radius=radius, focal=2.0, pivot=pivot)
    target = torch.tensor([pivot], dtype=DOUBLE)
    if torch.linalg.vector_norm(camera.position - target) < 1e-2:
        return
    uv, z = camera.project(target)
    assert close(uv, torch.full((1, 1, 2), 0.5, dtype=DOUBLE), 1e-7)
    assert z > 0


def test_positive_yaw_moves_to_the_subjects_left() -> None:
    camera = orbit(torch.tensor([0.5]), 0.2, radius=2.7, focal=4.0)
    assert camera.position[0, 0] > 0 and camera.position[0, 1] > 0
    above, _ = camera.project(torch.tensor([[0.0, 0.1, 0.0]]))
    assert above[0, 0, 1] < 0.5


@settings(deadline=None)
@given(cameras(), cameras())
def test_interpolation_starts_and_ends_at_its_cameras(first: Camera, second: Camera) -> None:
    relative = first.rotation[0].T @ second.rotation[0]
    if (torch.trace(relative) - 1) / 2 < -0.999:  # half a turn has no single shortest way
        return
    path = interpolate(first, second, torch.tensor([0.0, 0.5, 1.0], dtype=DOUBLE))
    assert close(path.cam2world[0], first.cam2world[0], 1e-6)
    assert close(path.cam2world[2], second.cam2world[0], 1e-6)
    assert close(path.intrinsics[2], second.intrinsics[0])
    identity = torch.eye(3, dtype=DOUBLE).expand(3, 3, 3)
    assert close(path.rotation @ path.rotation.transpose(1, 2), identity, 1e-8)
    # The middle is equally far from both ends.
    angles = [
        torch.linalg.matrix_norm(path.rotation[1] - end.rotation[0]) for end in (first, second)
    ]
    assert float(angles[0]) == pytest.approx(float(angles[1]), abs=1e-6)


def test_interpolation_between_equal_cameras_is_differentiable() -> None:
    camera = orbit(torch.tensor([0.3], dtype=DOUBLE), radius=2.0, focal=1.0)
    labels = camera.labels().clone().requires_grad_()
    moved = Camera.from_labels(labels)
    interpolate(moved, camera, torch.tensor([0.3], dtype=DOUBLE)).cam2world.sum().backward()
    assert labels.grad is not None and labels.grad.isfinite().all()


@settings(deadline=None)
@given(st.floats(5, 150))
def test_field_of_view(fov_deg: float) -> None:
    focal = focal_from_fov(fov_deg)
    edge = math.degrees(2 * math.atan(0.5 / focal))
    assert edge == pytest.approx(fov_deg)


def test_indexing_and_joining() -> None:
    camera = orbit(torch.linspace(-1, 1, 5), radius=2.0, focal=1.5)
    assert len(camera[1]) == 1 and len(camera[-1]) == 1 and len(camera[1:3]) == 2
    assert torch.equal(camera[-1].cam2world, camera.cam2world[4:])
    assert torch.equal(camera[[3, 0]].position, camera.position[[3, 0]])
    assert torch.equal(Camera.cat([camera[:2], camera[2:]]).cam2world, camera.cam2world)
    twice = camera.repeat_interleave(2)
    assert torch.equal(twice.position[::2], camera.position) and len(twice) == 10


def test_projection_takes_points_for_all_or_for_each() -> None:
    camera = orbit(torch.linspace(-1, 1, 3), radius=2.0, focal=1.5)
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    shared, z = camera.project(points)
    own, _ = camera.project(points.expand(3, 4, 3))
    assert shared.shape == (3, 4, 2) and z.shape == (3, 4)
    assert torch.equal(shared, own)


def test_prior_makes_its_frontal_camera() -> None:
    camera = CameraPrior(2.7, 4.2647, (0.0, 0.0, 0.2)).front()
    assert close(camera.position, torch.tensor([[0.0, 0.0, 2.7]]), 1e-6)
    assert close(camera.intrinsics, intrinsics_matrix(4.2647), 1e-6)


@pytest.mark.parametrize("length", [24, 26])
def test_labels_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InputError, match=r"expected \[N, 25\]"):
        Camera.from_labels(torch.zeros(1, length))


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="cam2world"):
        Camera(torch.eye(4), torch.eye(3)[None])
    with pytest.raises(InputError, match="intrinsics"):
        Camera(torch.eye(4)[None], torch.eye(3)[None].repeat(2, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turn", [math.pi, math.pi - 1e-5, -math.pi + 1e-4, 3.0])
def test_cameras_from_opposite_sides_are_interpolated(dtype: torch.dtype, turn: float) -> None:
    prior = CameraPrior(2.7, 4.0)
    first, second = (prior.orbit(torch.tensor([yaw], dtype=dtype)) for yaw in (0.3, 0.3 + turn))
    fraction = torch.linspace(0, 1, 5, dtype=dtype)
    found = interpolate(first, second, fraction)
    tolerance = {"rtol": 0.0, "atol": 1e-5 if dtype == torch.float32 else 1e-7}
    torch.testing.assert_close(found.rotation[-1:], second.rotation, **tolerance)
    torch.testing.assert_close(found.rotation[:1], first.rotation, **tolerance)
    identity = torch.eye(3, dtype=dtype).expand(5, 3, 3)
    torch.testing.assert_close(found.rotation.mT @ found.rotation, identity, **tolerance)
    middle = found.rotation[2].mT @ first.rotation[0]
    assert float(middle.trace()) == pytest.approx(1 + 2 * math.cos(turn / 2), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_cameras_at_the_poles_are_rigid_and_not_turned(dtype: torch.dtype, sign: int) -> None:
    prior = CameraPrior(2.7, 4.0)
    pitch = sign * torch.tensor([89.9, 90.0], dtype=dtype).deg2rad()
    near, pole = prior.orbit(torch.full((2,), 0.4, dtype=dtype), pitch).rotation
    torch.testing.assert_close(pole.T @ pole, torch.eye(3, dtype=dtype), rtol=0, atol=1e-6)
    assert float((near - pole).abs().max()) < 3e-3
    above = torch.tensor([[0.0, 2.0 * sign, 0.0]], dtype=dtype)
    rotation = look_at(above, torch.zeros(3), intrinsics_matrix(2.0)).rotation[0]
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(3, dtype=dtype), rtol=0, atol=1e-6)
    assert float(rotation.det()) == pytest.approx(1.0)


def three() -> Camera:
    return orbit(torch.tensor([0.1, 0.2, 0.3]), radius=2.7, focal=4.0)


def test_cameras_are_counted_iterated_and_picked() -> None:
    camera = three()
    yaws = [round(float(one.yaw), 3) for one in camera]
    assert yaws == [0.1, 0.2, 0.3]
    for index, expected in (
        (1, [0.2]),
        (-1, [0.3]),
        (torch.tensor(1), [0.2]),
        ([2, 0], [0.3, 0.1]),
        ([True, False, True], [0.1, 0.3]),
        (torch.tensor([False, True, False]), [0.2]),
        (slice(1, None), [0.2, 0.3]),
        ([], []),
    ):
        torch.testing.assert_close(camera[index].yaw, torch.tensor(expected))
    for wrong in (3, -4, [True, False]):
        with pytest.raises(IndexError):
            camera[wrong]


def test_orbits_of_one_number_and_of_whole_numbers() -> None:
    (one,) = orbit(0.3, 0.5, radius=2.7, focal=4.0)  # type: ignore[arg-type]
    assert (float(one.yaw), float(one.pitch)) == pytest.approx((0.3, 0.5))
    whole = orbit(torch.tensor([0, 1]), 0.5, radius=2.7, focal=4.0)
    torch.testing.assert_close(whole.pitch, torch.tensor([0.5, 0.5]))


def test_positions_and_pairs_of_another_shape_are_named() -> None:
    intrinsics = three().intrinsics
    for position in (torch.tensor([0.0, 0.0, 2.7]), torch.tensor([[0, 0, 2]])):
        with pytest.raises(InputError, match=r"position: shape .*, expected \[N, 3\]"):
            look_at(position, torch.zeros(3), intrinsics)
    with pytest.raises(InputError, match=r"second: 3 cameras, expected one"):
        interpolate(three()[0], three(), torch.tensor([0.5]))
