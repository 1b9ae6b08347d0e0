from __future__ import annotations

import pytest
import torch

from inv3d.core.camera import CameraPrior
from inv3d.core.scene import Scene
from inv3d.nn.encoders.occlusion import cells_of, surface_points, visible_cells, widen
from inv3d.nn.planes.triplane import AXES, sample_planes

PRIOR = CameraPrior(radius=2.7, focal=4.0)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("slices", [None, 1, 3])
def test_marked_cells_are_those_that_the_sampler_reads(axes, slices):
    """Planes that are 1 where a cell is marked are seen by a point at the middle of its cells."""
    torch.manual_seed(10)
    size, box = 8, 1.4
    depth = slices or 1
    # at centres of cells, and for tri-grids at those of slices, along any axis
    at = (torch.randint(size, (2, 1, 3)) + 0.5) / size
    if slices:
        at = (torch.randint(slices, (2, 1, 3)) + 0.5) / slices
    points = (at * 2 - 1) * box / 2
    cells = cells_of(points, axes, box, size, slices)
    shape = (size, size) if slices is None else (depth, size, size)
    assert cells.shape == (2, 3, 1, *shape)
    assert cells.flatten(2).sum(2).eq(1).all()
    planes = widen(cells) if slices else cells
    seen = sample_planes(planes, points, axes, box)
    torch.testing.assert_close(seen, torch.ones(2, 1, 1))
    others = sample_planes(planes.roll(3, -1), points, axes, box)
    assert others.max() < 0.5


def test_points_outside_the_box_count_nowhere():
    inside, outside = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.1, 0.2, 0.51])
    points = torch.stack([inside, outside, outside * -1, outside * 10])[None]
    assert torch.equal(
        cells_of(points, "panohead", 1.0, 4, 3), cells_of(points[:, :1], "panohead", 1.0, 4, 3)
    )


def test_widening_stays_within_a_slice():
    cells = torch.zeros(1, 3, 1, 2, 5, 5)
    cells[0, 1, 0, 1, 2, 0] = 1
    wide = widen(cells)
    assert wide.shape == cells.shape and int(wide.sum()) == 6
    assert wide[0, 1, 0, 1, 1:4, :2].eq(1).all()
    assert int(widen(cells, 2).sum()) == 15


def _sphere(camera, size):
    """Depth of a sphere of radius 0.3 before a wall far behind it, and where it is: two maps."""
    origins, directions = camera.rays(size)
    along = -(origins * directions).sum(-1)
    closest = origins.square().sum(-1) - along.square()
    hit = closest < 0.09
    distance = torch.where(hit, along - (0.09 - closest).clamp_min(0).sqrt(), 3.05)
    return distance.view(-1, 1, size, size), hit.view(-1, 1, size, size).float()


def test_points_lie_on_the_surface_that_was_seen():
    camera = PRIOR.orbit(torch.tensor([0.3, -1.0]), 0.2)
    depth, _ = _sphere(camera, 48)
    same = surface_points(depth, camera, 48, jump=0.1)
    origins, directions = camera.rays(48)
    torch.testing.assert_close(same, origins + directions * depth.flatten(1)[..., None])
    points = surface_points(depth, camera, 96, jump=0.1)
    far = points - camera.position[:, None]
    on_wall = (far.norm(dim=-1) - 3.05).abs() < 1e-5
    on_sphere = (points.norm(dim=-1) - 0.3).abs() < 0.02
    assert (on_wall ^ on_sphere).float().mean() > 0.98  # of a few at the outline, the ray is off
    mixed = surface_points(depth, camera, 96, jump=10.0)
    between = (mixed.norm(dim=-1) > 0.32) & ((mixed - camera.position[:, None]).norm(dim=-1) < 3.0)
    assert between.sum() > 100


def test_a_sphere_is_seen_from_one_side():
    """Cells in front of a sphere are visible, those behind it aren't."""
    camera = PRIOR.orbit(torch.tensor([0.0, torch.pi]))
    depth, hit = _sphere(camera, 32)
    cells = visible_cells(depth, hit, camera, "panohead", 1.0, 16, 3)
    assert cells.shape == (2, 3, 1, 3, 16, 16)
    front, back = cells[0, 0, 0], cells[1, 0, 0]  # x and y, slices along z
    assert front[2].sum() > 40 and front[0].sum() == 0
    assert back[0].sum() > 40 and back[2].sum() == 0
    torch.testing.assert_close(front[2], back[0])
    flat = visible_cells(depth, hit, camera, "eg3d", 1.0, 16)
    assert flat.shape == (2, 3, 1, 16, 16)
    # the second plane has x along its columns and z along its rows
    rows = flat[0, 1, 0].sum(1)
    assert rows[9:13].min() > 0 and rows[:6].sum() == 0


def test_what_is_transparent_is_seen_nowhere():
    camera = PRIOR.front()
    depth = torch.full((1, 1, 16, 16), 2.7)
    mask = torch.zeros(1, 1, 16, 16)
    assert not visible_cells(depth, mask, camera, "eg3d", 1.0, 16).any()
    assert visible_cells(depth, None, camera, "eg3d", 1.0, 16)[0, 0, 0, 3:13, 3:13].all()
    mask[..., 8:] = 1
    half = visible_cells(depth, mask, camera, "eg3d", 1.0, 16)[0, 0, 0]
    assert half[3:13, 8:13].all() and not half[:, :6].any()


def test_stitching_takes_what_is_seen_from_the_first():
    ws = torch.zeros(1, 2, 3)
    first, second = (Scene({"planes": torch.full((1, 3, 5, 4, 4), v)}, ws) for v in (1.0, 2.0))
    seen = cells_of(torch.tensor([[[0.1, 0.1, 0.1]]]), "eg3d", 1.0, 4)
    planes = Scene.where({"planes": seen}, first, second).parts["planes"]
    assert (planes == 1).sum() == 3 * 5 and (planes == 2).sum() == 3 * 5 * 15
