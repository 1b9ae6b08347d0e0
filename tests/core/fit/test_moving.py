"""Cameras that change: what their numbers mean, and that cameras stay cameras."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.fit.moving import MovingCameras
from inv3d.testing.toy import ToyConfig, ToyGenerator

PRIOR = ToyGenerator(ToyConfig()).spec.camera
YAW, PITCH = torch.tensor([-0.6, 0.0, 0.9]).double(), torch.tensor([0.1, 0.0, -0.2]).double()


def moving() -> MovingCameras:
    return MovingCameras(PRIOR.orbit(YAW, PITCH))


def test_cameras_begin_where_they_are_given() -> None:
    cameras = moving()
    torch.testing.assert_close(cameras.camera().labels(), cameras.given.labels())


def test_a_turn_goes_around_the_head() -> None:
    cameras = moving()
    cameras.turn[:, 1] = 0.05
    expected = PRIOR.orbit(YAW + 0.05, PITCH)
    torch.testing.assert_close(cameras.camera().labels(), expected.labels())


def test_a_shift_goes_along_the_cameras_own_axes() -> None:
    cameras = moving()
    cameras.shift += torch.tensor([0.01, -0.02, 0.03]).double()
    camera, given = cameras.camera(), cameras.given
    moved = (camera.position - given.position)[:, None] @ given.rotation
    expected = torch.tensor([0.01, -0.02, 0.03]).double() * given.radius[:, None]
    torch.testing.assert_close(moved[:, 0], expected)
    torch.testing.assert_close(camera.rotation, given.rotation)


def test_rotations_stay_rotations() -> None:
    cameras, rng = moving(), torch.Generator().manual_seed(0)
    cameras.turn += torch.randn(3, 3, generator=rng).double()
    rotation = cameras.camera().rotation
    identity = torch.eye(3).double().expand(3, -1, -1)
    torch.testing.assert_close(rotation @ rotation.mT, identity)
    assert bool((torch.linalg.det(rotation) > 0).all())


def test_gradients_in_double_precision() -> None:
    cameras = moving()

    def label(turn: Tensor, shift: Tensor) -> Tensor:
        cameras.turn, cameras.shift = turn, shift
        camera: Camera = cameras.camera()
        return camera.labels()

    rng = torch.Generator().manual_seed(1)
    numbers = [torch.randn(3, 3, generator=rng).double() * 0.1 for _ in range(2)]
    assert torch.autograd.gradcheck(label, [n.requires_grad_() for n in numbers])
