"""What the bake is made of: parsing, subdivision, ray casts, occlusion."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest
import torch

from tools.minihead.bake import fill_and_smooth, first_hits, occlusion, pack_targets
from tools.minihead.headbase import HeadBase, read_obj, read_target
from tools.minihead.shapes import shape_axes
from tools.minihead.shell import COLUMNS, ROWS, shell_quads, shell_rays
from tools.minihead.topology import boundary_loop, catmull_clark, triangles, vertex_normals

CUBE = [[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)]
CUBE_QUADS = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def test_obj_and_target_files_are_read() -> None:
    text = "v 0 1 2\nv 1 0 0\nv 0 0 3\nvt 0.5 0.25\ng body\nf 1/1 2/1 3/1\n"
    vertices, uv, faces, uv_faces, groups = read_obj(text)
    assert vertices.shape == (3, 3) and uv[0].tolist() == [0.5, 0.25]
    assert (faces, uv_faces, groups) == ([[0, 1, 2]], [[0, 0, 0]], ["body"])
    raw = b"# comment\n\n7 .5 0 -1\n9 0 .25 0\n"
    for data, name in ((raw, "a.target"), (gzip.compress(raw), "a.target.gz")):
        index, delta = read_target(data, name)
        assert index.tolist() == [7, 9]
        assert delta.tolist() == [[0.5, 0, -1], [0, 0.25, 0]]


def test_catmull_clark_of_a_cube() -> None:
    matrix, quads = catmull_clark(torch.tensor(CUBE_QUADS), 8)
    fine = matrix @ torch.tensor(CUBE)
    assert fine.shape == (26, 3) and quads.shape == (24, 4)
    assert torch.allclose(matrix.to_dense().sum(1), torch.ones(26))
    assert torch.allclose(fine[:8].abs(), torch.full((8, 3), 5 / 9))
    assert torch.allclose(fine[8:20].norm(dim=1), torch.full((12,), 0.75 * math.sqrt(2)))
    assert torch.allclose(fine[20:].norm(dim=1), torch.ones(6))
    assert len(boundary_loop(quads)) == 0
    normals = vertex_normals(fine[None], triangles(quads))[0]
    assert ((normals * fine).sum(1) > 0.5).all()


def test_catmull_clark_keeps_the_boundary() -> None:
    grid = torch.tensor([[x, y, 0.0] for y in range(3) for x in range(3)])
    quads = torch.tensor([[0, 1, 4, 3], [1, 2, 5, 4], [3, 4, 7, 6], [4, 5, 8, 7]])
    matrix, fine = catmull_clark(quads, 9)
    rim = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.allclose((matrix @ grid)[rim], grid[rim])
    assert len(boundary_loop(quads)) == 8 and len(boundary_loop(fine)) == 16


def test_packed_targets_unpack() -> None:
    rng = np.random.default_rng(0)
    field = np.zeros((50, 3), np.float32)
    field[[3, 17, 40]] = rng.normal(size=(3, 3))
    nothing = np.zeros(0)
    base = HeadBase(nothing, nothing, nothing, {"local/nose/a": field, "unit/b": field / 2}, {})
    packed = pack_targets(base)
    assert packed["target_size"].tolist() == [3, 3]
    assert packed["target_index"].tolist() == [3, 17, 40] * 2
    owner = torch.tensor([0, 0, 0, 1, 1, 1])
    delta = packed["target_delta"].float() * packed["target_scale"][owner, None]
    expected = torch.tensor(np.concatenate([field[[3, 17, 40]], field[[3, 17, 40]] / 2]))
    assert (delta - expected).abs().max() <= packed["target_scale"].max() / 2 + 1e-6


def test_opposite_and_mirrored_targets_share_an_axis() -> None:
    names = [
        "local/eyes/l-eye-scale-decr",
        "local/eyes/l-eye-scale-incr",
        "local/eyes/r-eye-scale-decr",
        "local/eyes/r-eye-scale-incr",
        "local/head/head-round",
        "unit/jawOpen",
    ]
    eye, head = shape_axes(names)
    assert (eye.negative, eye.positive) == ([0, 2], [1, 3])
    assert (head.negative, head.positive) == ([], [4])


def test_first_hits_of_a_cube() -> None:
    faces = triangles(torch.tensor(CUBE_QUADS))
    corners = torch.tensor(CUBE)[faces]
    direction = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2, 0.1], [0, 0, -1]]), dim=1)
    origin = torch.tensor([[0.0, 0, 0], [0.3, 0.4, 5.0]])
    expected = [1 / direction[0, 0].item(), 4.0]
    assert first_hits(origin, direction, corners).tolist() == pytest.approx(expected, rel=1e-5)
    assert first_hits(origin[1:], -direction[1:], corners).isinf().all()


def test_fill_and_smooth_fills_holes_from_their_surroundings() -> None:
    radius = torch.ones(12, 16)
    radius[4:7, 0:3] = torch.inf
    assert torch.allclose(fill_and_smooth(radius), torch.ones(12, 16), atol=1e-4)


def test_occlusion_sees_a_wall() -> None:
    """A floor is darker at the foot of a wall than far from it."""
    steps = torch.linspace(0, 4, 9)
    floor = torch.stack([torch.stack([x, torch.tensor(0.0), z]) for x in steps for z in steps])
    cell = torch.arange(81).view(9, 9)
    quads = [cell[:-1, :-1], cell[:-1, 1:], cell[1:, 1:], cell[1:, :-1]]
    ground = triangles(torch.stack([q.flatten() for q in quads], 1))
    wall = torch.tensor([[0.0, 0, 0], [0, 0, 4], [0, 3, 4], [0, 3, 0]])
    vertices = torch.cat([floor, wall])
    faces = torch.cat([ground, torch.tensor([[81, 82, 83], [81, 83, 84]])])
    lit = occlusion(vertices, faces, directions=96, size=128)[:81].view(9, 9)
    assert 0.3 < lit[1, 4] < 0.75
    assert lit[8, 4] > 0.85


def test_shell_grid_faces_outwards() -> None:
    origin, direction = shell_rays()
    points = (origin + 0.6 * direction).view(1, -1, 3)
    assert points.shape[1] == ROWS * COLUMNS
    normals = vertex_normals(points, triangles(shell_quads()))[0].view(ROWS, COLUMNS, 3)
    assert ((normals * direction).sum(-1)[1:-1] > 0).all()
