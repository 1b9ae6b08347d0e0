"""Cameras that look the wrong way: which are refused, and what the message advises."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inv3d.core.camera import Camera, orbit
from inv3d.core.errors import InputError
from inv3d.core.poses import check_directions, offset, remedy, roll

OPENGL = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
PYTORCH3D = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
INVERT = "is the matrix world to camera? invert it"


def heads(
    yaw_deg: list[float], pitch_deg: float = 8.0, pivot: tuple[float, float, float] = (0, 0, 0)
) -> Camera:
    yaw = torch.tensor(yaw_deg, dtype=torch.float64).deg2rad()
    pitch = torch.tensor(pitch_deg, dtype=torch.float64).deg2rad()
    return orbit(yaw, pitch, radius=2.7, focal=4.2647, pivot=pivot)


def with_matrices(camera: Camera, matrices: Tensor) -> Camera:
    return Camera(matrices, camera.intrinsics)


def rolled(camera: Camera, angle_deg: float) -> Camera:
    angle = torch.tensor(angle_deg, dtype=torch.float64).deg2rad()
    turn = torch.eye(4, dtype=torch.float64)
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[0, 1], turn[1, 0] = -angle.sin(), angle.sin()
    return with_matrices(camera, camera.cam2world @ turn)


def names(camera: Camera) -> list[str]:
    return [f"{i}.png" for i in range(len(camera))]


SWEEP = heads([-70, -30, 20, 65])
AROUND = heads([-170, -120, -60, 0, 50, 110, 165])


def test_good_cameras_pass() -> None:
    for camera in (SWEEP, AROUND, heads([0]), rolled(SWEEP, 45)):
        check_directions(camera, names(camera), "labels")
        assert remedy(camera) == ""


@pytest.mark.parametrize("camera", [SWEEP, AROUND, heads([-70, 20, 60], pivot=(0, 0, 0.2))])
@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda m: m * OPENGL, "flip y and z (multiply columns 2 and 3 of cam2world by -1)"),
        (lambda m: m.inverse(), INVERT),
        (lambda m: (m * OPENGL).inverse(), f"{INVERT}, then flip y and z"),
        (lambda m: (m * PYTORCH3D).inverse(), f"{INVERT}, then flip x and y"),
        # transforms.json is converted from OpenGL's axes before anything is checked
        (lambda m: (m * OPENGL).inverse() * OPENGL, INVERT),
    ],
)
def test_matrices_of_other_conventions_are_refused_with_the_remedy(
    camera: Camera, change: object, advice: str
) -> None:
    wrong = with_matrices(camera, change(camera.cam2world))  # type: ignore[operator]
    with pytest.raises(InputError) as error:
        check_directions(wrong, names(wrong), "cap/dataset.json")
    text = str(error.value)
    assert text.startswith("cap/dataset.json: ") and "\n" not in text
    assert advice in text or (INVERT in text and "one spot" in text and INVERT in advice)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda m: m, "the world's y axis points down; turn the world (multiply rows 2 and 3"),
        (lambda m: m * OPENGL, "by -1), and flip y and z (multiply columns 2 and 3 of"),
        (lambda m: m.inverse(), f"{INVERT}, then turn the world (multiply rows 2 and 3"),
    ],
)
def test_in_a_world_upside_down_the_remedy_brings_cameras_to_the_front(
    change: object, advice: str
) -> None:
    wrong = change(OPENGL[:, None] * SWEEP.cam2world)  # type: ignore[operator]
    assert advice in remedy(with_matrices(SWEEP, wrong))


def test_inverting_is_all_that_converted_matrices_need() -> None:
    wrong = (SWEEP.cam2world * OPENGL).inverse() * OPENGL
    assert remedy(with_matrices(SWEEP, wrong)) == INVERT


def test_a_camera_at_the_origin_is_named() -> None:
    matrices = SWEEP.cam2world.clone()
    matrices[1, :3, 3] = 0
    with pytest.raises(InputError, match=r"1\.png: the camera stands at the origin.*as 1 of 4 do"):
        check_directions(with_matrices(SWEEP, matrices), names(SWEEP), "labels")


def test_a_single_view_is_told_too() -> None:
    one = heads([40])
    with pytest.raises(InputError, match=r"label of 0\.png: the head isn't in the picture .*inver"):
        check_directions(with_matrices(one, one.cam2world.inverse()), ["0.png"], "x")


def test_a_single_camera_that_looks_away_is_named_without_advice_for_all() -> None:
    matrices = AROUND.cam2world.clone()
    matrices[3] *= OPENGL
    with pytest.raises(InputError) as error:
        check_directions(with_matrices(AROUND, matrices), names(AROUND), "x")
    said = str(error.value)
    assert "label of 3.png: the camera looks away from the origin" in said
    assert "as 1 of 7 do): turn it to the head, or leave its picture out" in said


def test_transposed_rotations_are_recognised() -> None:
    high = heads([-130, -60, 0, 50, 100])
    matrices = high.cam2world.clone()
    matrices[:, :3, :3] = high.rotation.mT
    assert "transposed" in remedy(with_matrices(high, matrices))


@settings(deadline=None, max_examples=50)
@given(st.floats(-179, 179), st.floats(-60, 60), st.floats(-179, 179))
def test_roll_is_how_far_a_camera_is_turned(yaw: float, pitch: float, angle: float) -> None:
    found = roll(rolled(heads([yaw], pitch), angle)).rad2deg()
    assert float(found.abs()) == pytest.approx(abs(angle), abs=1e-6)


def test_what_is_behind_is_infinitely_far_from_the_middle() -> None:
    assert offset(heads([0])).tolist() == pytest.approx([0], abs=1e-9)
    assert offset(with_matrices(SWEEP, SWEEP.cam2world * OPENGL)).isinf().all()
