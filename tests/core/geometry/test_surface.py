"""Depth maps as surfaces."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera, CameraPrior, intrinsics_matrix
from inv3d.core.geometry.depth import ray_depth
from inv3d.core.geometry.surface import depth_surface, grid_triangles
from tests.golden_cases import GoldenCase

CASE = GoldenCase("hfgi3d_depth2mesh").tensors
GRID = CASE["vertices"].view(*CASE["depth"].shape, 3)


def as_set(triangles: Tensor) -> set[frozenset[int]]:
    return {frozenset(t) for t in triangles.tolist()}


def plain(points: Tensor, there: Tensor, most_cosine: float, longest: float) -> set[frozenset[int]]:
    """The same, square by square."""
    height, width = there.shape
    flat, found = points.reshape(-1, 3), set()

    def widest(triangles: list[tuple[int, ...]]) -> float:
        values = [
            float(torch.cosine_similarity(flat[b] - flat[a], flat[c] - flat[a], dim=0))
            for t in triangles
            for a, b, c in ((t[0], t[1], t[2]), (t[1], t[2], t[0]), (t[2], t[0], t[1]))
        ]
        return max(values)

    for y, x in itertools.product(range(height - 1), range(width - 1)):
        a = y * width + x
        corners = [c for c in (a, a + 1, a + width, a + width + 1) if there.reshape(-1)[c]]
        splits = [[tuple(corners)]] if len(corners) == 3 else []
        if len(corners) == 4:
            b, c, d = a + 1, a + width, a + width + 1
            splits = [[(a, c, d), (a, d, b)], [(b, a, c), (b, c, d)]]
        for t in min(splits, key=widest, default=[]):
            sides = [float((flat[i] - flat[j]).norm()) for i, j in itertools.combinations(t, 2)]
            if widest([t]) <= most_cosine and max(sides) <= longest:
                found.add(frozenset(t))
    return found


def test_golden_triangles() -> None:
    found = grid_triangles(GRID, CASE["depth"] > 1e-6)
    assert as_set(found) == as_set(CASE["triangles"])
    # they turn the same way, too
    turned = {tuple(t[i:] + t[:i]) for t in CASE["triangles"].tolist() for i in range(3)}
    assert {tuple(t) for t in found.tolist()} <= turned


@pytest.mark.parametrize(("most_cosine", "longest"), [(1, 9), (0.97, 9), (1, 0.3), (0.9, 0.2)])
@pytest.mark.parametrize("share", [1.0, 0.8, 0.3, 0.0])
def test_any_mask_and_limits(share: float, most_cosine: float, longest: float) -> None:
    rng = torch.Generator().manual_seed(3)
    there = torch.rand(GRID.shape[:2], generator=rng) < share
    limits = {"most_cosine": most_cosine, "longest": longest}
    found = grid_triangles(GRID, there, **limits)
    assert as_set(found) == plain(GRID, there, **limits)
    assert len(as_set(found)) == len(found) and found.dtype == torch.int64


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (2, 2)])
def test_small_grids(shape: tuple[int, int]) -> None:
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    points = torch.stack([x, y, torch.zeros_like(x)], dim=-1)
    assert len(grid_triangles(points)) == (2 if shape == (2, 2) else 0)


def test_golden_surface_of_a_camera() -> None:
    """The reference's vertices lie at corners of pixels: half a pixel away by the camera."""
    z = CASE["depth"].double()[None, None]
    height, width = z.shape[-2:]
    scale = torch.tensor([[width], [height], [1.0]]).double()
    intrinsics = (CASE["intrinsics"] / scale)[None].clone()
    intrinsics[:, 0, 2] += 0.5 / width
    intrinsics[:, 1, 2] += 0.5 / height
    camera = Camera(torch.eye(4).double()[None], intrinsics)
    points, triangles = depth_surface(camera, ray_depth(camera, z))
    torch.testing.assert_close(points, CASE["vertices"], atol=1e-6, rtol=0)
    assert as_set(triangles) == as_set(CASE["triangles"])


def test_a_mask_leaves_out_what_is_behind_and_gradients_reach_the_depth() -> None:
    camera = CameraPrior(radius=2.7, focal=4.0).front()
    depth = torch.full((1, 1, 6, 6), 2.7, requires_grad=True)
    mask = torch.ones(1, 1, 6, 6)
    mask[..., 3:] = 0
    points, triangles = depth_surface(camera, depth, mask)
    assert set(triangles.flatten().tolist()) == {6 * y + x for y in range(6) for x in range(3)}
    points.sum().backward()  # type: ignore[no-untyped-call]
    assert depth.grad is not None and bool(depth.grad.all())


def test_a_flat_square_is_split_somewhere_even_without_size() -> None:
    points = torch.zeros(2, 2, 3)
    assert len(grid_triangles(points)) == 2


def test_intrinsics_of_any_kind_are_taken() -> None:
    camera = Camera(torch.eye(4)[None], intrinsics_matrix(2.0))
    points, triangles = depth_surface(camera, torch.ones(1, 1, 3, 4))
    assert points.shape == (12, 3) and len(triangles) == 12
