"""Rotations as numbers, against the reference's and against themselves."""

from __future__ import annotations

import math

import pytest
import torch

from inv3d.core.camera import Camera, CameraPrior, orbit
from inv3d.core.geometry.rotations import (
    POSE_FORMS,
    POSE_NUMBERS,
    PoseForm,
    angle_between,
    numbers_of,
    quaternion_of_rotation,
    rotation_of,
    rotation_of_angles,
    rotation_of_quaternion,
    rotation_of_sixd,
    sixd_of_rotation,
    standing_camera,
)
from tests.golden_cases import GoldenCase

GOLDEN = GoldenCase("poseopt_rotations").tensors
PRIOR = CameraPrior(radius=2.7, focal=4.2647)
PIVOTED = CameraPrior(radius=2.7, focal=4.2647, pivot=(0.0, 0.05, 0.2))


def spun(count: int, seed: int = 0) -> torch.Tensor:
    """Rotations from everywhere."""
    rng = torch.Generator().manual_seed(seed)
    return rotation_of_quaternion(torch.randn(count, 4, generator=rng).double())


def close(found: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected.to(found), atol=atol, rtol=0)


def test_golden_quaternions() -> None:
    close(rotation_of_quaternion(GOLDEN["quaternion"]), GOLDEN["quaternion_rotmat"])
    close(rotation_of(GOLDEN["quaternion"], "quaternion"), GOLDEN["quaternion_rotmat"])


def test_golden_six_numbers() -> None:
    close(rotation_of_sixd(GOLDEN["sixd"]), GOLDEN["sixd_rotmat"])
    close(rotation_of(GOLDEN["sixd"], "sixd"), GOLDEN["sixd_rotmat"])
    close(sixd_of_rotation(GOLDEN["quaternion_rotmat"]), GOLDEN["rotmat_to_sixd"])


def test_golden_angles_with_roll() -> None:
    yaw, pitch = GOLDEN["theta"] - math.pi / 2, GOLDEN["phi"] - math.pi / 2
    rotation = rotation_of_angles(yaw, -pitch, GOLDEN["roll"])
    close(rotation, GOLDEN["euler_cam2world"][:, :3, :3])
    close(standing_camera(rotation, PRIOR).cam2world, GOLDEN["euler_cam2world"])
    upright = rotation_of_angles(yaw, -pitch, torch.zeros_like(yaw))
    close(rotation_of(torch.stack([yaw, pitch], 1), "angles"), upright)


def test_golden_angle_between_rotations() -> None:
    angle = angle_between(GOLDEN["quaternion_rotmat"], GOLDEN["sixd_rotmat"])
    close(angle, GOLDEN["geodesic_quat_vs_sixd"], 5e-4)  # its arc cosine rounds near 0


def test_golden_cameras_with_translation() -> None:
    camera = standing_camera(GOLDEN["quaternion_rotmat"], PRIOR, GOLDEN["translation_param"])
    close(camera.labels(), GOLDEN["camera"])


@pytest.mark.parametrize("form", POSE_FORMS)
def test_the_frontal_camera_and_back(form: PoseForm) -> None:
    front = PRIOR.front()
    numbers = numbers_of(front.rotation, form)
    assert numbers.shape == (1, POSE_NUMBERS[form])
    close(standing_camera(rotation_of(numbers, form), PRIOR).cam2world, front.cam2world)


def test_canonical_numbers() -> None:
    rotation = PRIOR.front().rotation
    close(numbers_of(rotation, "quaternion").abs(), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    close(numbers_of(rotation, "sixd"), torch.tensor([[1.0, 0, 0, 0, -1.0, 0]]), 2e-4)
    close(numbers_of(rotation, "angles"), torch.zeros(1, 2))


@pytest.mark.parametrize("form", ["quaternion", "sixd"])
def test_any_rotation_and_back(form: PoseForm) -> None:
    rotation = spun(200)
    close(rotation_of(numbers_of(rotation, form), form), rotation, 1e-9)


def test_upright_rotations_and_back_by_angles() -> None:
    yaw, pitch = torch.linspace(-3.1, 3.1, 9).double(), torch.linspace(-1.2, 1.2, 9).double()
    rotation = orbit(yaw, pitch, radius=2.7, focal=1.0).rotation
    close(rotation_of(numbers_of(rotation, "angles"), "angles"), rotation, 1e-9)


def test_quaternions_of_half_turns() -> None:
    """Where one or three of their numbers are 0."""
    half = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    close(quaternion_of_rotation(rotation_of_quaternion(half)).abs(), half)


def test_numbers_that_tell_nothing_are_still_rotations() -> None:
    for form in POSE_FORMS:
        rotation = rotation_of(torch.zeros(1, POSE_NUMBERS[form]), form)
        assert bool(rotation.isfinite().all()), form


@pytest.mark.parametrize("form", POSE_FORMS)
def test_gradients(form: PoseForm) -> None:
    rng = torch.Generator().manual_seed(1)
    numbers = 0.5 * torch.randn(3, POSE_NUMBERS[form], generator=rng).double() + 0.1
    shift = 0.1 * torch.randn(3, 3, generator=rng).double()

    def camera(numbers: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return standing_camera(rotation_of(numbers, form), PIVOTED, shift).labels()

    assert torch.autograd.gradcheck(camera, (numbers.requires_grad_(), shift.requires_grad_()))


def test_angles_between_known_rotations() -> None:
    yaw = torch.tensor([0.0, 0.3, 2.0, math.pi])
    turned = orbit(yaw, 0.0, radius=1.0, focal=1.0).rotation.requires_grad_()
    angle = angle_between(turned, turned.detach()[:1])
    close(angle, yaw, 1e-5)
    angle.sum().backward()
    assert turned.grad is not None and bool(turned.grad.isfinite().all())


def test_cameras_look_at_the_pivot_from_the_sphere() -> None:
    camera = orbit(torch.tensor([0.4, -1.0]), 0.2, radius=2.7, focal=3.0, pivot=PIVOTED.pivot)
    again = standing_camera(camera.rotation, PIVOTED)
    close(again.cam2world, camera.cam2world)
    close(again.radius, torch.full((2,), 2.7))


def test_a_shift_moves_the_head_in_the_picture_on_the_sphere() -> None:
    shift = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.1]])
    rotation = PRIOR.front().rotation.expand(3, -1, -1)
    camera = standing_camera(rotation, PRIOR, shift)
    close(camera.radius, torch.full((3,), 2.7))
    close(camera.rotation, rotation)
    uv, _ = camera.project(torch.zeros(1, 3))
    assert float(uv[0, 0, 0]) > 0.9 and float(uv[0, 0, 1]) == pytest.approx(0.5, abs=1e-5)
    assert float(uv[1, 0, 1]) > 0.9 and float(uv[1, 0, 0]) == pytest.approx(0.5, abs=1e-5)
    close(uv[2, 0], torch.full((2,), 0.5))  # along the radius it's normalised away


def test_cameras_join() -> None:
    assert len(Camera.cat([standing_camera(spun(2).float(), PRIOR), PRIOR.front()])) == 3
