"""Sampling of tri-planes and tri-grids, the plain and the faster way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.nn.planes import gather as plane_gather
from inv3d.nn.planes.gather import gather_planes
from inv3d.nn.planes.triplane import AXES, PlaneAxes, sample_planes, sample_planes_plain

BOX = 1.3
ALL: tuple[PlaneAxes, ...] = ("eg3d", "corrected", "cyclic", "panohead")


def make(
    batch: int, channels: int, size: int, points: int, dtype: torch.dtype, *slices: int
) -> tuple[Tensor, Tensor]:
    """Planes and points, some of them outside the box, on its faces and on texel centres."""
    rng = torch.Generator().manual_seed(5)
    planes = torch.randn(batch, 3, channels, *slices, size, size, generator=rng, dtype=dtype)
    where = (torch.rand(batch, points, 3, generator=rng, dtype=dtype) - 0.5) * 1.6 * BOX
    where[:, 0] = BOX / 2
    where[:, 1] = -BOX / 2
    where[:, 2] = 40.0
    where[:, 3] = BOX / size / 2
    return planes, where


@pytest.mark.parametrize("axes", ALL)
@pytest.mark.parametrize("slices", [(), (1,), (3,)])
@pytest.mark.parametrize("chunk", [5, 1 << 16])
def test_the_faster_way_equals_the_plain_one(
    axes: PlaneAxes, slices: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_gather, "CHUNK", chunk)
    planes, points = make(2, 4, 8, 57, torch.float32, *slices)
    first, second = planes.clone().requires_grad_(), planes.clone().requires_grad_()
    found = sample_planes(first, points, axes, BOX)
    assert "Gather" in found.grad_fn.name()
    expected = sample_planes_plain(second, points, axes, BOX)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(first.grad, second.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("slices", [(), (3,)])
def test_gradients_of_both_are_right(slices: tuple[int, ...]) -> None:
    planes, points = make(1, 2, 4, 9, torch.float64, *slices)
    # Away from texel borders, where the interpolation has a kink.
    points = points[:, 4:].clone()
    planes.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: gather_planes(p, points, AXES["eg3d"], BOX), planes)
    points.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, x: sample_planes_plain(p, x, "corrected", BOX), (planes, points)
    )


def test_points_get_gradients_where_they_want_them() -> None:
    planes, points = make(1, 2, 4, 9, torch.float32)
    points.requires_grad_()
    sample_planes(planes, points, "eg3d", BOX).sum().backward()
    assert points.grad is not None and points.grad.abs().max() > 0


def test_gather_serves_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(
        "inv3d.nn.planes.triplane.gather_planes",
        lambda *given: called.append(1) or gather_planes(*given),
    )
    planes, points = make(1, 2, 4, 9, torch.float32)
    sample_planes(planes, points, "eg3d", BOX)
    assert called == [1]
    sample_planes(planes, points.requires_grad_(), "eg3d", BOX)
    with torch.no_grad():
        sample_planes(planes, points, "eg3d", BOX)
    assert called == [1, 1]


@pytest.mark.parametrize("axes", ALL)
def test_each_plane_sees_its_axes(axes: PlaneAxes) -> None:
    """A plane with a ramp along its width returns the world coordinate that runs there."""
    size = 32
    ramp = (torch.arange(size) + 0.5) / size - 0.5
    points = torch.tensor([[[0.11, -0.23, 0.31]]])
    for index, (across, down) in enumerate(AXES[axes]):
        for world, values in (
            (across, ramp.expand(size, size)),
            (down, ramp[:, None].expand(size, size)),
        ):
            planes = torch.zeros(1, 3, 1, size, size)
            planes[0, index, 0] = values
            found = sample_planes(planes, points, axes, 1.0) * 3
            assert float(found) == pytest.approx(float(points[0, 0, world]), abs=1e-6)


@pytest.mark.parametrize("axes", ALL)
def test_slices_run_along_the_third_axis(axes: PlaneAxes) -> None:
    """Slices that hold the position of their centres return the coordinate that runs there."""
    ramp = ((torch.arange(5) + 0.5) / 5 - 0.5)[:, None, None].expand(5, 8, 8)
    points = torch.tensor([[[0.11, -0.23, 0.31]]])
    for index, pair in enumerate(AXES[axes]):
        (along,) = {0, 1, 2} - set(pair)
        grids = torch.zeros(1, 3, 1, 5, 8, 8)
        grids[0, index, 0] = ramp
        found = sample_planes(grids, points, axes, 1.0) * 3
        assert float(found) == pytest.approx(float(points[0, 0, along]), abs=1e-6)


def test_features_fade_beyond_the_outer_slices() -> None:
    """A single slice fades by 1 - |z| / 2 from the middle to the faces, half the side away."""
    planes, box = torch.ones(1, 3, 2, 1, 4, 4), 2.0
    along_z = torch.linspace(-0.9, 0.9, 7)
    points = torch.zeros(1, 7, 3)
    points[0, :, 2] = along_z
    for sample in (
        sample_planes,
        lambda p, x, a, b: sample_planes_plain(p.double(), x.double(), a, b),
    ):
        found = sample(planes, points, "panohead", box).float()
        # Z runs along the slice of the first plane and within the other two, away from their edge.
        inner = along_z.abs() < 0.7
        expected = (1 - along_z.abs() / 2 + 2) / 3
        torch.testing.assert_close(found[0, inner, 0], expected[inner])


def test_only_corrected_axes_see_y_and_z_together() -> None:
    assert {frozenset(p) for p in AXES["eg3d"]} == {frozenset({0, 1}), frozenset({0, 2})}
    for axes in ("corrected", "panohead"):
        assert frozenset({1, 2}) in {frozenset(p) for p in AXES[axes]}


def test_outside_the_box_is_nothing() -> None:
    planes = torch.ones(1, 3, 2, 4, 4)
    points = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]])
    found = sample_planes(planes, points, "eg3d", 1.0)
    assert found[0, 0].tolist() == pytest.approx([1.0, 1.0]) and found[0, 1].tolist() == [0.0, 0.0]
