"""Is the head in the picture, upright, between near and far: silent where it is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.errors import InputError
from inv3d.core.framing import check_framing, framing_warnings
from inv3d.core.generator import GeneratorSpec
from inv3d.io.dataset import open_capture
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.core.test_poses import INVERT, OPENGL, PYTORCH3D, rolled, with_matrices

TOY = ToyGenerator(ToyConfig())
FACE_FOCAL = 4.2647


def spec(
    near: float, far: float, box: float, prior: CameraPrior, name: str = "heads"
) -> GeneratorSpec:
    return replace(TOY.spec, name=name, camera=prior, depth_range=(near, far), box=box)


FFHQ = spec(2.25, 3.3, 1.0, CameraPrior(2.7, FACE_FOCAL, (0, 0, 0.2), 90, 60))
MINIHEAD = spec(2.25, 3.15, 0.8, CameraPrior(2.7, FACE_FOCAL, yaw_deg=180, pitch_deg=60))
PANOHEAD = spec(2.25, 3.3, 1.0, CameraPrior(2.7, FACE_FOCAL, yaw_deg=180, pitch_deg=60))
SHAPENET = spec(0.1, 2.6, 1.6, CameraPrior(1.7, 1.7074, yaw_deg=180, pitch_deg=90))
ALL = {"ffhq": FFHQ, "minihead": MINIHEAD, "panohead": PANOHEAD, "shapenet": SHAPENET}
each = pytest.mark.parametrize("one", ALL.values(), ids=ALL)


def views(
    one: GeneratorSpec, yaw_deg: list[float], pitch_deg: float = 0.0, **more: float
) -> Camera:
    prior = replace(one.camera, **more)  # type: ignore[arg-type]
    yaw = torch.tensor(yaw_deg, dtype=torch.float64).deg2rad()
    return prior.orbit(yaw, math.radians(pitch_deg))


def said(one: GeneratorSpec, camera: Camera) -> list[str]:
    return check_framing(camera, one, [f"{i}.png" for i in range(len(camera))], "labels")


def scaled(camera: Camera, factor: float) -> Camera:
    matrices = camera.cam2world.clone()
    matrices[:, :3, 3] *= factor
    return with_matrices(camera, matrices)


def shifted(camera: Camera, across: float, down: float = 0.0) -> Camera:
    intrinsics = camera.intrinsics.clone()
    intrinsics[:, :2, 2] += torch.tensor([across, down]).to(intrinsics)
    return Camera(camera.cam2world, intrinsics)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(ALL)),
    st.lists(st.floats(-90, 90), min_size=1, max_size=9),
    st.floats(-60, 60),
    st.floats(-45, 45),
    st.floats(0.95, 1.05),
    st.floats(0.85, 1.15),
    st.floats(-0.1, 0.1),
)
def test_good_captures_pass_in_silence(
    name: str, yaw: list[float], pitch: float, angle: float, far: float, zoom: float, shift: float
) -> None:
    one = ALL[name]
    camera = rolled(views(one, yaw, pitch, focal=one.camera.focal * zoom), angle)
    assert said(one, shifted(scaled(camera, far), shift, -shift)) == []


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["minihead", "panohead", "shapenet"]), st.integers(3, 40), st.floats(-60, 60)
)
def test_captures_all_around_pass_in_silence(name: str, count: int, pitch: float) -> None:
    yaw = [360 * i / count - 180 for i in range(count)]
    assert said(ALL[name], views(ALL[name], yaw, pitch)) == []


@pytest.mark.parametrize("sample", ["sample:static", "sample:dynamic"])
def test_the_samples_pass_in_silence(sample: str) -> None:
    files = open_capture(sample)
    assert files.notices == {} and said(MINIHEAD, files.camera) == []


@pytest.mark.parametrize("pitch", [88.0, 90.0, -90.0])
def test_from_above_nothing_is_upright(pitch: float) -> None:
    assert said(SHAPENET, views(SHAPENET, [10, 50], pitch)) == []


def test_toy_captures_pass_in_silence() -> None:
    assert said(TOY.spec, toy_capture(TOY, 9).camera) == []


def test_face_labels_suit_a_generator_of_whole_heads() -> None:
    """Labels of FFHQ's kind look at a point before the origin, up to the profile."""
    assert said(PANOHEAD, views(FFHQ, [-90, -40, 0, 90])) == []


@each
def test_upside_down(one: GeneratorSpec) -> None:
    camera = views(one, [-60, 0, 50])
    (text,) = said(one, with_matrices(camera, camera.cam2world * PYTORCH3D))
    assert text.startswith("3 of 3 pictures have the head upside down: the camera's y axis points")
    assert "multiply columns 1 and 2 of cam2world by -1" in text


@each
def test_a_world_upside_down(one: GeneratorSpec) -> None:
    camera = views(one, [-70, -42, 13])
    turned = with_matrices(camera, OPENGL[:, None] * camera.cam2world)
    text = said(one, turned)[0]
    assert text.startswith("3 of 3 pictures have the head upside down: the world's y axis points")
    assert "multiply rows 2 and 3 of cam2world by -1" in text and "columns" not in text


def test_upside_down_all_around_has_two_causes() -> None:
    camera = views(PANOHEAD, [-135, -45, 45, 135])
    (text,) = said(PANOHEAD, with_matrices(camera, camera.cam2world * PYTORCH3D))
    assert "multiply columns 1 and 2 of cam2world by -1); or the world's y axis" in text


def test_on_its_side() -> None:
    (text,) = said(FFHQ, rolled(views(FFHQ, [0, 20]), 90))
    assert text.startswith("2 of 2 pictures have the head on its side (0.png: rolled by")


@each
def test_world_to_camera(one: GeneratorSpec) -> None:
    camera = views(one, [-40, 30])
    with pytest.raises(InputError, match=r"labels: the head isn't in .*world to camera\? inv"):
        said(one, with_matrices(camera, camera.cam2world.inverse()))


def test_world_to_camera_near_the_front() -> None:
    camera = views(FFHQ, [7, -6], 5)
    (text,) = said(FFHQ, with_matrices(camera, camera.cam2world.inverse()))
    assert text.startswith("the head is partly outside of 2 of 2 pictures") and INVERT in text


def test_behind_the_camera() -> None:
    camera = views(FFHQ, [0, 20, 40])
    with pytest.raises(
        InputError, match=r"isn't in 3 of 3 pictures \(0\.png: its centre is behind"
    ):
        said(FFHQ, with_matrices(camera, camera.cam2world * OPENGL))


def test_beyond_the_rays() -> None:
    (text,) = said(MINIHEAD, scaled(views(MINIHEAD, [-20, 0, 20]), 3.3 / 2.7))
    assert text.startswith("in 3 of 3 pictures the head lies outside of what the generator's rays")
    assert "0.png: distance 3.30 from the origin, the rays run from 2.25 to 3.15" in text
    assert "scale their positions (times 0.818) to 2.70" in text
    (text,) = said(FFHQ, scaled(views(FFHQ, [0]), 0.85))
    assert "distance 2.29" in text


@each
@pytest.mark.parametrize("factor", [4.0, 100.0])
def test_nothing_within_the_rays(one: GeneratorSpec, factor: float) -> None:
    with pytest.raises(InputError, match="outside of what the generator's rays see, and nothing"):
        said(one, scaled(views(one, [0, 10]), factor))


def test_too_near_for_the_rays() -> None:
    with pytest.raises(InputError, match="and nothing of it shows"):
        said(FFHQ, scaled(views(FFHQ, [0, 10]), 0.1))


def test_cameras_at_the_origin() -> None:
    with pytest.raises(InputError, match=r"distance 0\.00 .*; move the cameras to 2\.70"):
        said(FFHQ, scaled(views(FFHQ, [0, 10]), 0.0))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["minihead", "panohead"]), st.floats(-90, 90), st.floats(0.05, 3))
def test_a_shift_is_silent_then_odd_then_an_error(name: str, yaw: float, shift: float) -> None:
    one, camera = ALL[name], views(ALL[name], [yaw])
    moved = shifted(camera, shift)
    if shift >= 1:
        with pytest.raises(InputError, match="the head isn't in 1 of 1 pictures"):
            said(one, moved)
    elif 0.34 < shift < 0.999:
        (text,) = said(one, moved)
        assert text.startswith("the head is partly outside of 1 of 1 pictures (0.png: its centre")
    elif shift < 0.33:
        assert said(one, moved) == []


def test_angles_beyond_the_training() -> None:
    one = replace(FFHQ, camera=replace(FFHQ.camera, yaw_deg=45, pitch_deg=20))
    assert said(one, views(one, [-45, 0, 47])) == []
    (text,) = said(one, views(one, [-70, 0, 60]))
    assert text.startswith("2 of 3 pictures are seen from a yaw beyond the generator's ±45")
    assert "0.png: -70" in text
    (text,) = said(one, views(one, [0], -40))
    assert text.startswith("1 of 1 pictures are seen from a pitch")


def test_unusual_distances_within_long_rays_and_focal_lengths() -> None:
    (text,) = said(SHAPENET, scaled(views(SHAPENET, [0, 10]), 0.7))
    assert "2 of 2 pictures have an unusual distance from the origin (0.png: 1.19" in text
    (text,) = said(FFHQ, views(FFHQ, [0, 10], focal=1.2))
    assert "an unusual focal length (0.png: 1.20, the generator's is 4.26)" in text


def test_the_advice_is_for_the_cameras_that_are_odd() -> None:
    camera = views(MINIHEAD, [-20, 0, 20])
    camera.cam2world[0, :3, 3] *= 1.3
    (text,) = said(MINIHEAD, camera)
    assert "in 1 of 3 pictures" in text and "(times 0.769) to 2.70" in text


def test_pixels_that_arent_square() -> None:
    camera = views(FFHQ, [0, 10])
    intrinsics = camera.intrinsics.clone()
    intrinsics[1, 1, 1] /= 1.1
    (text,) = said(FFHQ, Camera(camera.cam2world, intrinsics))
    assert text.startswith("in 1 of 2 pictures the head is squeezed (1.png: focal lengths 4.265")
    assert "divide both by the side of the square" in text


def test_cameras_without_pictures_are_numbered() -> None:
    (text,) = check_framing(rolled(views(FFHQ, [0, 20]), 90), FFHQ, (), "render")
    assert "2 of 2 pictures have the head on its side (picture 1: " in text


def test_where_nothing_is_refused_an_error_becomes_a_warning() -> None:
    (text,) = framing_warnings(scaled(views(FFHQ, [0]), 9), FFHQ, ["a.png"])
    assert "outside of what the generator's rays see, and nothing of it shows" in text
    assert framing_warnings(views(FFHQ, [0]), FFHQ, ["a.png"]) == []
