"""Visibility on rendered heads whose meshes are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera, intrinsics_matrix
from inv3d.core.geometry.depth import axis_depth
from inv3d.core.geometry.masks import erode
from inv3d.core.geometry.warp import look_up, reproject, warp_view
from tools.minihead.cameras import FOCAL, orbit
from tools.minihead.captures import make_capture, neutral
from tools.minihead.heads import Heads
from tools.minihead.seeds import CAPTURES

YAWS = torch.tensor([0.0, 0.35, -0.35, 0.7, 0.0])
PITCHES = torch.tensor([0.0, 0.03, 0.03, 0.0, 0.2])


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads("cpu")


def truly_seen(fine: Tensor, source: Camera, depth: Tensor, views: Camera) -> Tensor:
    """Whether the mesh, drawn six times as fine from the source, hides the views' points."""
    known = depth > 0
    uv, z = reproject(views, torch.where(known, depth, torch.ones_like(depth)), source)
    nearest = look_up(axis_depth(source, fine), uv, nearest=True)[:, 0]
    return ((z - nearest <= 0.01) & (nearest > 0) & known[:, 0])[:, None].float()


def overlap(found: Tensor, true: Tensor, where: Tensor) -> Tensor:
    """Intersection over union of every view, [N]."""
    both, either = torch.minimum(found, true), torch.maximum(found, true)
    return (both * where).sum((1, 2, 3)) / (either * where).sum((1, 2, 3))


@pytest.mark.parametrize("seed", [CAPTURES.start + 27, CAPTURES.start + 3])
def test_what_is_seen_of_a_head_is_what_its_mesh_does_not_hide(heads: Heads, seed: int) -> None:
    matrices = orbit(YAWS, PITCHES)
    capture = make_capture(heads, seed, matrices, 128, neutral(), 1)
    fine = make_capture(heads, seed, matrices[:1], 768, neutral(), 1).depth
    camera = Camera(matrices, intrinsics_matrix(FOCAL, len(matrices)))
    source, views, depth = camera[0], camera[1:], capture.depth[1:]
    warped = warp_view(capture.rgb[:1], source, capture.depth[:1], views, depth, tolerance=0.02)
    true, surface = truly_seen(fine, source, depth, views), (depth > 0).float()
    away = (erode(true, 3) + erode(1 - true, 3)) * erode(surface, 3)
    assert away.sum() / surface.sum() > 0.8
    assert overlap(warped.seen, true, away).min() > 0.95
    assert overlap(warped.seen, true, surface).min() > 0.88
    assert ((1 - true) * away).sum((1, 2, 3)).max() > 300
    hidden = overlap((1 - warped.seen) * surface, (1 - true) * surface, away)
    assert hidden[2] > 0.7  # from 40 degrees much is hidden
    colours = (warped.image - capture.rgb[1:]).abs().mean(1, keepdim=True)
    assert colours[(away * true) > 0].mean() < 0.03
