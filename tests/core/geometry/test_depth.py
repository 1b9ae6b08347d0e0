"""Depth maps to points and back."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inv3d.core.camera import Camera, intrinsics_matrix, orbit
from inv3d.core.geometry.depth import (
    axis_depth,
    depth_points,
    pixel_centres,
    point_depth,
    ray_depth,
)
from tests.golden_cases import GoldenCase

angles = st.floats(-1.2, 1.2)


def skewed(yaw: float, pitch: float, skew: float = 0.1, shift: float = 0.05) -> Camera:
    """A camera with everything that intrinsics can have."""
    camera = orbit(torch.tensor([yaw]).double(), pitch, radius=2.7, focal=3.0)
    intrinsics = camera.intrinsics.clone()
    intrinsics[:, 0, 1] = skew
    intrinsics[:, 0, 2] += shift
    intrinsics[:, 1, 1] *= 1.2
    return Camera(camera.cam2world, intrinsics)


@settings(deadline=None, max_examples=30)
@given(angles, angles, st.floats(-0.3, 0.3), st.floats(-0.2, 0.2))
def test_points_go_back_to_their_pixels(
    yaw: float, pitch: float, skew: float, shift: float
) -> None:
    camera = skewed(yaw, pitch, skew, shift)
    rng = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(1, 1, 5, 7, generator=rng, dtype=torch.float64)
    uv, distance = point_depth(camera, depth_points(camera, depth))
    expected = pixel_centres(5, 7, depth).reshape(1, -1, 2)
    torch.testing.assert_close(uv, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(distance, depth.flatten(1), atol=1e-9, rtol=0)


@settings(deadline=None, max_examples=30)
@given(angles, angles, st.floats(-0.3, 0.3))
def test_depth_along_the_axis_is_the_z_of_the_points(yaw: float, pitch: float, skew: float) -> None:
    camera = skewed(yaw, pitch, skew)
    depth = 2 + torch.rand(1, 1, 4, 6, dtype=torch.float64)
    z = axis_depth(camera, depth)
    _, expected = camera.project(depth_points(camera, depth))
    torch.testing.assert_close(z.flatten(1), expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(ray_depth(camera, z), depth, atol=1e-12, rtol=0)


def test_a_plane_across_the_axis_has_one_z() -> None:
    camera = Camera(torch.eye(4).double()[None], intrinsics_matrix(2.0).double())
    z = torch.full((1, 1, 6, 6), 3.0).double()
    points = depth_points(camera, ray_depth(camera, z))
    torch.testing.assert_close(points[..., 2], torch.full((1, 36), 3.0).double())


def test_golden_points_of_depth_along_the_ray() -> None:
    case = GoldenCase("poseopt_warp")
    intrinsics = torch.tensor(case.facts["kwargs"]["intrinsics"]).view(1, 3, 3)
    for n in range(3):
        camera = Camera(case.tensors[f"{n}.extrinsic"][None], intrinsics)
        points = depth_points(camera, case.tensors[f"{n}.depth"][None, None])
        torch.testing.assert_close(points.view(12, 12, 3), case.tensors[f"{n}.xyz"])


def test_golden_vertices_of_a_depth_map_along_the_axis() -> None:
    """The reference puts them at the corners of pixels, and takes its depth along the axis."""
    case = GoldenCase("hfgi3d_depth2mesh")
    z, pixels = case.tensors["depth"].double(), case.tensors["intrinsics"]
    height, width = z.shape
    scale = torch.tensor([[width], [height], [1.0]]).double()
    camera = Camera(torch.eye(4).double()[None], (pixels / scale)[None])
    corner = pixel_centres(height, width, z) - torch.tensor([0.5 / width, 0.5 / height])
    uv = corner.reshape(1, -1, 2)
    ahead = camera.unproject(uv, torch.ones(1, height * width).double())[..., 2]
    points = camera.unproject(uv, z.reshape(1, -1) / ahead)
    torch.testing.assert_close(points[0], case.tensors["vertices"], atol=1e-6, rtol=0)


def test_gradients_reach_depth_and_camera() -> None:
    camera = skewed(0.3, 0.2)
    depth = (2 + torch.rand(1, 1, 2, 3, dtype=torch.float64)).requires_grad_()
    matrix, intrinsics = (t.requires_grad_() for t in (camera.cam2world, camera.intrinsics))

    def there_and_back(d: torch.Tensor, m: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        points = depth_points(Camera(m, k), d)
        uv, distance = point_depth(skewed(0.1, 0.0), points)
        return torch.cat([uv.flatten(), distance.flatten(), axis_depth(Camera(m, k), d).flatten()])

    assert torch.autograd.gradcheck(there_and_back, (depth, matrix, intrinsics))
