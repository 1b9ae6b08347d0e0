"""Angles that are corrected by what a face differs from the mean one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import orbit
from inv3d.nn.face.correction import Correction, differences
from inv3d.nn.face.model import FaceModel, rigid_fit, yaws_and_pitches

FLIP = torch.tensor([-1.0, 1.0, 1.0]).double()


def own_face(model: FaceModel, size: float = 0.006) -> Tensor:
    bumps = size * torch.randn(4, 3, generator=torch.Generator().manual_seed(4)).double()
    waves = torch.randn(3, 4, generator=torch.Generator().manual_seed(5)).double()
    return model.points + torch.sin(9 * model.points @ waves) @ bumps


def seen(face: Tensor, yaw: Tensor, pitch: float) -> Tensor:
    return 90 * face @ orbit(yaw, pitch, radius=2.7, focal=4.0).rotation


def test_differences_know_neither_turn_nor_size_nor_place() -> None:
    model = FaceModel.load()
    face = own_face(model)
    camera = orbit(torch.tensor([0.0, 0.6]).double(), 0.2, radius=2.7, focal=4.0)
    points = face @ camera.rotation * torch.tensor([50.0, 90.0]).double()[:, None, None] + 30
    first, second = differences(model.points, points, camera.rotation.mT)
    torch.testing.assert_close(first, second)
    base, own = (x - x.mean(0) for x in (model.points, face))
    size = (own * base).sum() / base.square().sum()
    torch.testing.assert_close(first, own / size - base)


def test_one_that_was_not_measured_changes_nothing() -> None:
    yaw, pitch = torch.tensor([0.5, -1.0]), torch.tensor([0.1, 0.2])
    assert torch.equal(Correction(2)(yaw, pitch, torch.randn(2, 2, 468, 3)), torch.zeros(2, 6))


@pytest.mark.parametrize("together", [False, True])
def test_a_face_in_a_mirror_is_turned_to_the_other_side(together: bool) -> None:
    model = FaceModel.load()
    face, pairs = own_face(model), model.mirror.long()
    yaw = torch.tensor([-0.9, -0.2, 0.6]).double()
    points = seen(face, yaw, 0.1)
    found = turned(model, points, face, together)
    mirrored = turned(model, points[:, pairs] * FLIP, face[pairs] * FLIP, together)
    # yaw, pitch; roll, size, right, down
    turn = torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]).double()
    torch.testing.assert_close(mirrored * turn, found, atol=2e-3, rtol=0)


def turned(model: FaceModel, points: Tensor, face: Tensor, together: bool) -> Tensor:
    """Corrected yaws and pitches and the squares' changes, [N, 6]."""
    rotations = torch.stack([rigid_fit(model.points, frame) for frame in points])
    if together:
        changes = model.correct_many(points, rotations, face)
    else:
        pairs = zip(points, rotations, strict=True)
        changes = torch.stack([model.correct_one(*pair) for pair in pairs])
    changes[:, :2] += yaws_and_pitches(rotations)
    return changes


def test_faces_unlike_any_head_are_not_turned_far() -> None:
    """Differences beyond what was seen when it was measured count no more than the largest."""
    model = FaceModel.load()
    apart = torch.randn(1, 1, 468, 3, generator=torch.Generator().manual_seed(6)).double()
    turn = torch.tensor([0.7]).double()
    far, farther = model.one(turn, 0 * turn, apart), model.one(turn, 0 * turn, 100 * apart)
    assert float(farther[0, 0].abs()) < 2 * float(far[0, 0].abs()) + 0.2
