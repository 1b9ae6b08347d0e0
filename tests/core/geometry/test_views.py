"""The mirrored camera, and those nearby."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.geometry.views import flipped, mirrored_camera, turned_camera
from tests.core.geometry.test_depth import skewed
from tests.golden_cases import GoldenCase

SPI = GoldenCase("spi_cameras_warp")
angles = st.floats(-1.2, 1.2)


def test_golden_mirrored_cameras() -> None:
    cameras = Camera.from_labels(SPI.tensors["cameras"])
    assert torch.equal(mirrored_camera(cameras).labels(), SPI.tensors["mirrored"])
    other = GoldenCase("triplanenet_mirror").tensors
    intrinsics = cameras.intrinsics[:1].expand(len(other["cam2world"]), -1, -1)
    found = mirrored_camera(Camera(other["cam2world"], intrinsics)).cam2world
    assert torch.equal(found, other["cam2world_mirrored"])


def test_intrinsics_can_stay_as_in_the_released_code() -> None:
    cameras = Camera.from_labels(SPI.tensors["cameras"])
    off = cameras.intrinsics.clone()
    off[:, 0, 2], off[:, 0, 1] = 0.4, 0.1
    shifted = Camera(cameras.cam2world, off)
    kept, both = mirrored_camera(shifted, intrinsics=False), mirrored_camera(shifted)
    assert torch.equal(kept.cam2world, both.cam2world)
    assert torch.equal(kept.intrinsics, off)
    assert torch.allclose(both.intrinsics[:, 0, 2], torch.full((len(off),), 0.6))


def test_golden_surrounding_cameras() -> None:
    camera = Camera.from_labels(SPI.tensors["cameras"][:1])
    angle = torch.tensor(SPI.facts["kwargs"]["surrounding"])
    found = turned_camera(camera, angle[:, 0], angle[:, 1])
    torch.testing.assert_close(found.labels(), SPI.tensors["surrounding"], atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=30)
@given(angles, angles, st.floats(-0.3, 0.3), st.floats(-0.2, 0.2))
def test_mirrored_points_are_in_the_flipped_picture(
    yaw: float, pitch: float, skew: float, shift: float
) -> None:
    camera = skewed(yaw, pitch, skew, shift)
    points = torch.randn(20, 3, dtype=torch.float64) * 0.3
    uv, z = camera.project(points)
    signs = torch.tensor([-1.0, 1.0, 1.0]).double()
    other, other_z = mirrored_camera(camera).project(points * signs)
    expected = torch.stack([1 - uv[..., 0], uv[..., 1]], dim=-1)
    torch.testing.assert_close(other, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(other_z, z)


@settings(deadline=None, max_examples=20)
@given(angles, angles)
def test_mirroring_twice_is_nothing(yaw: float, pitch: float) -> None:
    camera = skewed(yaw, pitch)
    twice = mirrored_camera(mirrored_camera(camera))
    torch.testing.assert_close(twice.labels(), camera.labels())


def test_turning_keeps_the_distance_and_what_is_in_the_middle() -> None:
    camera = CameraPrior(2.7, 4.0).orbit(torch.tensor([0.2]).double(), 0.1)
    turned = turned_camera(camera, torch.tensor([0.0, 0.5]), torch.tensor([0.3, -0.2]))
    torch.testing.assert_close(turned.radius, camera.radius.expand(2))
    uv, _ = turned.project(torch.zeros(1, 3).double())
    torch.testing.assert_close(uv, torch.full_like(uv, 0.5))
    front = CameraPrior(2.7, 4.0).front().to(dtype=torch.float64)
    left = turned_camera(front, torch.tensor([0.4]), torch.tensor([0.0]))
    torch.testing.assert_close(left.yaw, torch.tensor([0.4]).double())


def test_flipped_pictures() -> None:
    assert flipped(torch.arange(3.0).view(1, 1, 1, 3)).flatten().tolist() == [2.0, 1.0, 0.0]
