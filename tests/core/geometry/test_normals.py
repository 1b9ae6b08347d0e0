"""Which way surfaces face."""

from __future__ import annotations

import math

import pytest
import torch

from inv3d.core.camera import Camera, orbit
from inv3d.core.geometry.depth import depth_points, ray_depth
from inv3d.core.geometry.normals import facing, surface_normals
from tests.core.geometry.scenes import RADIUS, sphere_depth


def camera_at(*yaw: float, pitch: float = 0.0) -> Camera:
    return orbit(torch.tensor(yaw).double(), pitch, radius=2.7, focal=3.0)


def test_normals_of_a_sphere_and_of_the_wall_behind_it() -> None:
    camera, size = camera_at(0.3, -0.5, pitch=0.2), 96
    depth = sphere_depth(camera, size)
    normals = surface_normals(camera, depth)
    points = depth_points(camera, depth).unflatten(1, (size, size))
    radius = torch.linalg.vector_norm(points, dim=-1)
    ball = radius < RADIUS + 1e-6
    true = torch.where(
        ball[..., None], points / radius[..., None], torch.tensor([0.0, 0.0, 1.0]).double()
    )
    cosine = (normals * true).sum(-1)
    assert cosine.quantile(0.02) > 0.95 and cosine.median() > 0.999
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones_like(radius))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_plane_has_one_normal_up_to_the_edge_of_what_is_known(step: int) -> None:
    camera = camera_at(0.0)
    depth = ray_depth(camera, torch.full((1, 1, 12, 12), 2.5).double())
    depth[..., :5] = 0
    normals = surface_normals(camera, depth, step=step)
    expected = torch.tensor([0.0, 0.0, 1.0]).double().expand(1, 12, 7, 3)
    torch.testing.assert_close(normals[:, :, 5:], expected)
    assert not normals[:, :, :5].any()


def test_without_a_neighbour_there_is_no_normal() -> None:
    camera = camera_at(0.0)
    depth = torch.zeros(1, 1, 6, 6).double()
    depth[..., 3, 3] = 2.5
    normals = surface_normals(camera, depth)
    assert not normals.any() and not facing(camera, depth, camera).any()


def test_an_edge_in_front_of_another_surface_is_not_spanned() -> None:
    camera = camera_at(0.0)
    z = torch.full((1, 1, 8, 8), 3.0).double()
    z[..., 4:] = 2.5
    normals = surface_normals(camera, ray_depth(camera, z))
    assert normals[..., 2].min() > 0.999


def test_how_squarely_a_camera_looks() -> None:
    camera, size = camera_at(0.0), 64
    depth = sphere_depth(camera, size)
    ball = depth < 2.7
    own = facing(camera, depth, camera)
    assert own[..., size // 2, size // 2].item() == pytest.approx(1, abs=1e-3)
    behind = facing(camera, depth, camera_at(math.pi))
    assert behind[ball].max() < 0.2 and behind[..., size // 2, size // 2].item() < -0.99
    many = facing(camera, depth, camera_at(0.0, 0.8))
    torch.testing.assert_close(many[:1], own)


def test_gradients_reach_depth() -> None:
    camera = camera_at(0.2)
    rng = torch.Generator().manual_seed(0)
    depth = (2 + 0.1 * torch.rand(1, 1, 5, 5, generator=rng).double()).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: facing(camera, d, camera_at(0.5)), depth)
