from __future__ import annotations

import pytest
import torch

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.geometry.views import mirrored_camera
from inv3d.nn.encoders.mirror import uncertain_difference
from tests.golden_cases import GoldenCase


@pytest.fixture(scope="module")
def golden():
    return GoldenCase("triplanenet_mirror").tensors


def test_golden_mirrored_cameras(golden):
    intrinsics = torch.tensor([[4.26, 0, 0.5], [0, 4.26, 0.5], [0, 0, 1]]).expand(4, 3, 3)
    found = mirrored_camera(Camera(golden["cam2world"], intrinsics))
    assert torch.equal(found.cam2world, golden["cam2world_mirrored"])
    assert torch.equal(found.intrinsics.abs(), intrinsics)


@pytest.mark.parametrize("kind", ["squared", "smooth_l1"])
@pytest.mark.parametrize("normalised", [False, True])
def test_golden_differences(golden, kind, normalised):
    found = uncertain_difference(
        golden["render"], golden["mirror"], golden["conf"], kind, normalised=normalised
    )
    name = {"squared": "l2", "smooth_l1": "smoothl1"}[kind]
    torch.testing.assert_close(found, golden[f"{name}_norm{int(normalised)}"], atol=0, rtol=1e-5)


def test_the_paper_divides_by_the_uncertainty_itself():
    first, second = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    sure = uncertain_difference(first, second, torch.full((1, 4, 4), 0.25), added=0.0)
    assert float(sure) == 4.0


def test_a_mirrored_camera_sees_the_mirror_image():
    camera = CameraPrior(radius=2.7, focal=3.0).orbit(torch.tensor([0.4, -1.0]), 0.2)
    skewed = camera.intrinsics.clone()
    skewed[:, 0, 1], skewed[:, 0, 2] = 0.1, 0.45
    camera = Camera(camera.cam2world, skewed)
    points = torch.randn(9, 3) * 0.3
    uv, distance = camera.project(points)
    mirrored, same = mirrored_camera(camera).project(points * torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(same, distance)
    torch.testing.assert_close(mirrored[..., 0], 1 - uv[..., 0])
    torch.testing.assert_close(mirrored[..., 1], uv[..., 1])
    again = mirrored_camera(mirrored_camera(camera))
    assert torch.equal(again.cam2world, camera.cam2world)
