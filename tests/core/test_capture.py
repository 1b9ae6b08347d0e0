"""Choice of views."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inv3d.core.camera import Camera, orbit
from inv3d.core.capture import Capture, evenly_by_angle, is_circle
from inv3d.core.errors import InputError
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.golden_cases import GoldenCase

GOLDEN = GoldenCase("multilatent_target_selection").tensors


def _capture(yaw_deg: list[float], pitch_deg: float = 0.0) -> Capture:
    yaw = torch.tensor(yaw_deg).deg2rad()
    count = len(yaw_deg)
    return Capture(
        images=torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 4, 4),
        cameras=orbit(yaw, torch.tensor(pitch_deg).deg2rad(), radius=2.7, focal=2.0),
        names=tuple(f"{i}.png" for i in range(count)),
        masks=torch.ones(count, 1, 4, 4),
        source="clip",
    )


@pytest.mark.parametrize("clip", ["clip_a", "clip_b"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 9])
def test_views_by_angle_are_the_references(clip: str, count: int) -> None:
    yaw = Camera.from_labels(GOLDEN[f"{clip}.cameras"]).yaw
    assert evenly_by_angle(yaw, count) == GOLDEN[f"{clip}.evenly{count}"].tolist()
    if count > 1:
        both = evenly_by_angle(yaw, 2 * count - 1)
        assert both[::2] == GOLDEN[f"{clip}.targets{count}"].tolist()
        assert both[1::2] == GOLDEN[f"{clip}.between{count}"].tolist()


def test_choose_by_angle_goes_from_the_largest_yaw_down() -> None:
    capture = _capture([10, -60, 55, 0, -30, 30, 60])
    assert capture.choose(3, "angle") == [6, 3, 1]
    assert capture.choose(1, "angle") == [3]


def test_choose_by_index_spreads_over_the_order_of_files() -> None:
    capture = _capture([10, -60, 55, 0, -30, 30, 60])
    assert capture.choose(3, "index") == [0, 3, 6]
    assert capture.choose(1, "index") == [3]
    for views in range(2, 8):
        assert len(set(capture.choose(views, "index"))) == views


def test_choose_all() -> None:
    capture = _capture([10, 0, -10])
    assert capture.choose(2, "all") == [0, 1, 2]
    assert capture.choose(None, "angle") == [0, 1, 2]


@pytest.mark.parametrize("views", [0, -2])
def test_choose_refuses_no_views(views: int) -> None:
    with pytest.raises(InputError, match=f"--views {views}: expected 1 or more"):
        _capture([0, 10]).choose(views, "angle")


def test_choose_refuses_more_views_than_there_are() -> None:
    with pytest.raises(InputError, match="--views 4: the capture clip has only 3 views"):
        _capture([0, 10, 20]).choose(4, "angle")


def test_choose_refuses_angles_that_are_too_few() -> None:
    with pytest.raises(InputError, match="--views 5: only 2 views of clip differ enough"):
        _capture([60, 60, 60, 60, -60, -60, -60]).choose(5, "angle")


def reference(yaw: torch.Tensor, count: int) -> list[int]:
    """The choice among views that don't go all around."""
    wanted = torch.linspace(float(yaw.max()), float(yaw.min()), count, dtype=torch.float64)
    return (yaw.double()[None] - wanted[:, None]).abs().argmin(1).tolist()


def turn(count: int, begin: float = -180.0) -> torch.Tensor:
    """Evenly spaced yaws, radians, from -pi to pi."""
    degrees = (torch.arange(count) * (360.0 / count) + begin + 180.0) % 360.0 - 180.0
    return degrees.deg2rad()


@given(st.lists(st.floats(-119, 119), min_size=2, max_size=40), st.integers(2, 12))
def test_views_of_an_arc_are_chosen_as_ever(degrees: list[float], count: int) -> None:
    yaw = torch.tensor(degrees).deg2rad()
    assert not is_circle(yaw)
    assert evenly_by_angle(yaw, count) == reference(yaw, count)


@pytest.mark.parametrize("span", [150.0, 140.0, 120.0])
def test_a_wide_arc_of_many_views_is_no_circle(span: float) -> None:
    assert not is_circle(torch.linspace(-span, span, 61).deg2rad())


@given(st.integers(3, 100), st.floats(-180, 180))
def test_evenly_spaced_views_all_around_are_a_circle(count: int, begin: float) -> None:
    assert is_circle(turn(count, begin))


@given(st.integers(3, 100), st.floats(-180, 180), st.data())
def test_neighbours_on_a_circle_are_equally_far_apart(
    count: int, begin: float, data: st.DataObject
) -> None:
    yaw = turn(count, begin)
    wanted = data.draw(st.integers(2, count))
    chosen = evenly_by_angle(yaw, wanted)
    assert len(set(chosen)) == wanted
    assert int(yaw.abs().argmin()) in chosen
    ordered = yaw[chosen]
    assert ordered.tolist() == sorted(ordered.tolist(), reverse=True)
    gaps = torch.remainder(ordered - ordered.roll(-1), 2 * math.pi).rad2deg()
    # each is at most half a step from where it should be
    assert float((gaps - 360 / wanted).abs().max()) <= 360 / count + 1e-3


def test_no_two_neighbours_at_the_back() -> None:
    yaw = torch.arange(-165, 181, 15).float().deg2rad()
    chosen = yaw[evenly_by_angle(yaw, 8)].rad2deg().round().tolist()
    assert chosen == [180, 135, 90, 45, 0, -45, -90, -135]


def test_random_directions_all_around_are_a_circle() -> None:
    rng = torch.Generator().manual_seed(1)
    assert is_circle((torch.rand(72, generator=rng) * 2 - 1) * math.pi)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_views_are_no_circle(count: int) -> None:
    assert not is_circle(turn(count))


def test_rows_keep_everything_together() -> None:
    capture = _capture([10, 0, -10])
    part = capture[[2, 0]]
    assert len(part) == 2 and part.names == ("2.png", "0.png")
    assert part.images[:, 0, 0, 0].tolist() == [2.0, 0.0]
    assert torch.allclose(part.camera.yaw.rad2deg(), torch.tensor([-10.0, 10.0]), atol=1e-4)
    assert part.masks is not None and part.depths is None
    assert capture[[capture.front()]].names == ("1.png",)


def test_other_floating_point_type() -> None:
    capture = _capture([10, 0]).to("cpu", torch.float64)
    assert capture.images.dtype == capture.camera.cam2world.dtype == torch.float64
    assert capture.masks is not None and capture.masks.dtype == torch.float64


def test_a_capture_may_be_without_cameras() -> None:
    posed = _capture([10, 0, -20])
    bare = replace(posed, cameras=None)
    assert posed.posed and not bare.posed
    assert bare.choose(2, "angle") == bare.choose(2, "index") == [0, 2] and bare.front() == 0
    part = bare[[2, 0]].to("cpu", torch.float64)
    assert part.names == (bare.names[2], bare.names[0]) and part.cameras is None
    with pytest.raises(InputError, match="its pictures have no cameras; add them as labels"):
        _ = bare.camera
    found = bare.with_cameras(posed.camera)
    assert torch.equal(found.camera.labels(), posed.camera.labels())


def test_whatever_else_is_known_of_the_views_goes_with_them() -> None:
    classes = torch.arange(3)[:, None, None, None].expand(3, 1, 4, 4)
    marks = torch.arange(6.0).view(3, 1, 2)
    capture = replace(_capture([10, 0, -20]), extras={"classes": classes, "marks": marks})
    part = capture[[2, 0]].to("cpu", torch.float64)
    assert part.extras["classes"][:, 0, 0, 0].tolist() == [2, 0]
    assert part.extras["classes"].dtype == torch.int64
    assert part.extras["marks"].dtype == torch.float64


def test_views_are_picked_by_one_several_or_a_mask() -> None:
    capture = toy_capture(ToyGenerator(ToyConfig()), 3)
    for index, expected in ((1, [1]), ([2, 0], [2, 0]), ([True, False, True], [0, 2])):
        assert capture[index].names == tuple(capture.names[i] for i in expected)
        assert torch.equal(capture[index].images, capture.images[expected])
    assert [one.names[0] for one in capture] == list(capture.names)
