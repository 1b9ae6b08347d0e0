"""What cameras see of points."""

from __future__ import annotations

import torch

from inv3d.core.camera import Camera, intrinsics_matrix, orbit
from inv3d.core.geometry.depth import depth_points
from inv3d.core.geometry.visibility import agrees, visible_points
from tests.core.geometry.scenes import sphere_depth, truly_visible
from tests.golden_cases import GoldenCase


def front() -> Camera:
    return orbit(torch.zeros(1).double(), radius=2.7, focal=4.2647)


def test_golden_points() -> None:
    """The reference rounds without the half pixel, as if the middle were half a pixel further."""
    case = GoldenCase("hfgi3d_visibility")
    size = case.facts["kwargs"]["size"]
    intrinsics = intrinsics_matrix(case.facts["kwargs"]["focal"]).double()
    intrinsics[:, :2, 2] += 0.5 / size
    camera = Camera(case.tensors["cam2world"][None], intrinsics)
    points = case.tensors["points"]
    inside, visible = visible_points(camera, points, size, 1 / size)
    assert torch.equal(points[inside[0]], case.tensors["points_inside"])
    assert torch.equal(visible[inside], case.tensors["visible"])


def test_pictures_that_are_not_square() -> None:
    """Each pixel's nearest points, one after the other."""
    rng = torch.Generator().manual_seed(2)
    points = torch.randn(4000, 3, generator=rng, dtype=torch.float64) * 0.3
    height, width, tolerance = 9, 31, 0.05
    inside, visible = visible_points(front(), points, (height, width), tolerance)
    uv, z = front().project(points)
    nearest: dict[tuple[int, int], float] = {}
    cells = [(int(v * height // 1), int(u * width // 1)) for u, v in uv[0].tolist()]
    for cell, distance in zip(cells, z[0].tolist(), strict=True):
        nearest[cell] = min(distance, nearest.get(cell, torch.inf))
    for i, cell in enumerate(cells):
        within = 0 <= cell[0] < height and 0 <= cell[1] < width
        assert bool(inside[0, i]) == within
        assert bool(visible[0, i]) == (within and float(z[0, i]) - nearest[cell] <= tolerance)
    square = visible_points(front(), points, 16, tolerance)
    assert torch.equal(square[1], visible_points(front(), points, (16, 16), tolerance)[1])


def test_a_sphere_hides_its_back_and_the_wall_behind_it() -> None:
    views = orbit(torch.tensor([-0.5, 0.0, 0.5]).double(), radius=2.7, focal=3.0)
    points = torch.cat(list(depth_points(views, sphere_depth(views, 192))))
    inside, visible = visible_points(front(), points, 64, 0.03)
    true = truly_visible(points, front().position[0]) & inside[0]
    both, either = (visible[0] & true).sum(), (visible[0] | true).sum()
    assert both / either > 0.97
    assert not (visible & ~inside).any()


def test_what_lies_behind_the_camera_is_not_in_the_picture() -> None:
    points = torch.tensor([[0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.7]]).double()
    inside, visible = visible_points(front(), points, 8, 0.1)
    assert inside.tolist() == visible.tolist() == [[False, True, False]]


def test_each_camera_has_a_picture_of_its_own() -> None:
    behind = orbit(torch.tensor([3.1415]).double(), radius=2.7, focal=4.0)
    views = Camera.cat([front(), behind])
    points = torch.tensor([[0.05, 0.05, 0.3], [0.05, 0.05, -0.3]]).double()
    _, visible = visible_points(views, points, 16, 0.01)
    assert visible.tolist() == [[True, False], [False, True]]


def test_agreement_on_one_side_and_on_both() -> None:
    z = torch.tensor([1.0, 1.09, 1.11, 0.85, 1.0, -1.0])
    surface = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    assert agrees(z, surface, 0.1).tolist() == [True, True, False, True, False, False]
    both = agrees(z, surface, 0.1, both_sides=True)
    assert both.tolist() == [True, True, False, False, False, False]
