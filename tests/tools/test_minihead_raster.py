"""The rasteriser against analytic surfaces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tools.minihead import raster
from tools.minihead.cameras import FOCAL, RADIUS, orbit
from tools.minihead.raster import (
    cover,
    cover_torch,
    front_depth,
    project,
    ray_length,
    render,
    surface,
)


@pytest.fixture(autouse=True, params=["torch", "fastest"])
def z_buffer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with the torch z-buffer and with the one that this machine prefers."""
    if request.param == "torch":
        monkeypatch.setattr(raster, "zbuffer", None)


@dataclass
class Mesh:
    """A mesh whose colours are its first three attributes."""

    vertices: Tensor
    faces: Tensor
    attributes: Tensor
    two_sided: Tensor

    def shade(self, head: Tensor, face: Tensor, attributes: Tensor) -> Tensor:
        return attributes[:, :3]


def mesh(vertices: Tensor, faces: list[list[int]] | Tensor, two_sided: bool = False) -> Mesh:
    faces = torch.as_tensor(faces)
    batch = vertices if vertices.dim() == 3 else vertices[None]
    return Mesh(batch, faces, batch.clone(), torch.full((len(faces),), two_sided))


def sphere(radius: float, rings: int = 90) -> Mesh:
    polar = torch.linspace(0, math.pi, rings + 1)[:, None]
    around = torch.arange(2 * rings)[None] * math.pi / rings
    x, y, z = polar.sin() * around.sin(), polar.cos() + 0 * around, polar.sin() * around.cos()
    cell = torch.arange((rings + 1) * 2 * rings).view(rings + 1, -1)
    a, b, c, d = cell[:-1], cell[1:], cell[1:].roll(-1, 1), cell[:-1].roll(-1, 1)
    faces = torch.cat([torch.stack(t, -1).view(-1, 3) for t in ((a, b, c), (a, c, d))])
    return mesh(radius * torch.stack([x, y, z], -1).view(-1, 3), faces)


def slanted_plane() -> Mesh:
    corners = [[-0.6, -0.6, 0.3], [0.6, -0.6, -0.2], [0.6, 0.6, 0.1], [-0.6, 0.6, 0.6]]
    return mesh(torch.tensor(corners), [[0, 1, 2], [0, 2, 3]])


def camera(yaw: float = 0.0, pitch: float = 0.0) -> Tensor:
    return orbit(torch.tensor([[yaw]]), torch.tensor([[pitch]]))


def rays(size: int, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Origin [3] and unit directions [size, size, 3] of pixel centres."""
    offset = ((torch.arange(size) + 0.5) / size - 0.5) / FOCAL
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    local = torch.stack([x, y, torch.ones_like(x)], -1)
    world = local @ pose[:3, :3].T
    return pose[:3, 3], world / world.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.8, 0.3), (-2.5, -0.4)])
def test_sphere_depth_is_the_distance_along_the_unit_ray(yaw: float, pitch: float) -> None:
    radius, pose = 0.25, camera(yaw, pitch)
    out = render(sphere(radius), pose, FOCAL, 96, supersample=1)
    origin, direction = rays(96, pose[0, 0])
    along = direction @ origin
    inside = along**2 - (origin @ origin - radius**2)
    true = -along - inside.clamp(min=0).sqrt()
    safe = inside > 0.02 * radius**2  # off the silhouette of the polygon
    assert safe.sum() > 2000
    assert torch.allclose(out["depth"][0, 0, 0][safe], true[safe], atol=6e-4)
    assert (out["mask"][0, 0, 0][safe] == 1).all()
    assert (out["depth"][0, 0, 0][inside < 0] == 0).all()


def test_attributes_are_perspective_correct() -> None:
    """Interpolated world positions lie on the pixel's ray, at the pixel's depth."""
    plane, size = slanted_plane(), 64
    pose = camera(0.3, -0.2)[0]
    points = project(plane.vertices, pose, torch.tensor([FOCAL]), size)
    triangle = cover(points, plane.faces, plane.two_sided, size)
    pixel, depth, _, position = surface(plane, points, triangle, torch.tensor([0]))
    origin, direction = rays(size, pose[0])
    distance = depth * ray_length(size, torch.tensor([FOCAL])).flatten()[pixel]
    expected = origin + direction.view(-1, 3)[pixel] * distance[:, None]
    assert len(pixel) > 1000
    assert torch.allclose(position, expected, atol=2e-5)


def test_coverage_is_the_projected_area() -> None:
    half = 0.2
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * half
    out = render(mesh(square, [[0, 1, 2], [0, 2, 3]]), camera(), FOCAL, 100, supersample=4)
    side = 2 * half / RADIUS * FOCAL * 100
    assert out["mask"].sum().item() == pytest.approx(side**2, rel=0.01)


def test_both_z_buffers_agree() -> None:
    ball = sphere(0.25, rings=40)
    pose = orbit(torch.tensor([0.3, 2.0]), torch.tensor([0.1, -0.4]))
    points = project(ball.vertices.expand(2, -1, -1), pose, torch.full((2,), FOCAL), 128)
    arguments = (points, ball.faces, ball.two_sided, 128)
    assert (cover(*arguments) == cover_torch(*arguments)).float().mean() > 0.9995


def test_shared_edges_leave_no_gap() -> None:
    out = render(sphere(0.25, rings=24), camera(0.4, 0.2), FOCAL, 128, supersample=1)
    origin, direction = rays(128, camera(0.4, 0.2)[0, 0])
    inside = (direction @ origin) ** 2 - (origin @ origin - 0.23**2) > 0
    assert (out["mask"][0, 0, 0][inside] == 1).all()


def test_back_faces_are_culled_unless_two_sided() -> None:
    plane = slanted_plane()
    behind = camera(math.pi)
    assert render(plane, behind, FOCAL, 32)["mask"].sum() == 0
    plane.two_sided[:] = True
    assert render(plane, behind, FOCAL, 32)["mask"].sum() > 0


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_nearest_surface_wins(order: list[int]) -> None:
    triangle = torch.tensor([[-0.3, -0.3, 0.0], [0.3, -0.3, 0.0], [0.0, 0.3, 0.0]])
    stack = torch.cat([triangle, triangle + torch.tensor([0, 0, 0.01])])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])[order]
    out = render(mesh(stack, faces), camera(), FOCAL, 16, supersample=1)
    assert out["depth"][0, 0, 0, 8, 8].item() == pytest.approx(RADIUS - 0.01, abs=2e-3)


def test_background_is_white_and_edges_are_blended() -> None:
    black = sphere(0.2)
    black.attributes = torch.zeros_like(black.attributes)
    out = render(black, camera(), FOCAL, 64)
    assert torch.allclose(out["rgb"], (1 - out["mask"]).expand_as(out["rgb"]), atol=1e-6)
    assert ((out["mask"] > 0) & (out["mask"] < 1)).any()


def test_result_does_not_depend_on_the_chunk() -> None:
    ball = sphere(0.2, rings=20)
    ball.vertices = torch.cat([ball.vertices, ball.vertices * 1.2])
    ball.attributes = ball.vertices
    cameras = orbit(torch.tensor([[0.0, 1.0, 2.0], [0.5, -1.0, 3.0]]), torch.zeros(2, 3))
    focal = torch.tensor([[4.0, 4.2, 4.4], [4.1, 4.3, 4.5]])
    whole, single = (render(ball, cameras, focal, 32, chunk=c) for c in (6, 1))
    assert whole["rgb"].shape == (2, 3, 3, 32, 32)
    assert whole["depth"].shape == whole["mask"].shape == (2, 3, 1, 32, 32)
    assert all(torch.equal(whole[k], single[k]) for k in whole)
    assert whole["mask"][1].sum() > whole["mask"][0].sum()


def test_front_depth_stays_on_one_surface() -> None:
    inf = torch.inf
    samples = torch.tensor([[2.5, 2.51, 2.8, inf], [inf, inf, inf, inf], [2.7, 2.7, 2.7, 2.7]])
    assert torch.allclose(front_depth(samples), torch.tensor([2.505, 0.0, 2.7]))
