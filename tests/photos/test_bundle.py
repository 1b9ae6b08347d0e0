"""A face of one's own and its turns, found together."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.camera import orbit
from inv3d.nn.face.landmarks import Landmarks
from inv3d.nn.face.model import FaceModel, angles
from inv3d.photos.bundle import bundle, share_a_face, votes
from inv3d.photos.sight import Sight


def test_turns_of_a_face_that_differs_from_the_mean() -> None:
    model = FaceModel.load()
    rng = torch.Generator().manual_seed(3)
    bumps = 0.008 * torch.randn(4, 3, generator=rng, dtype=torch.float64)
    own = model.points + torch.sin(9 * model.points @ torch.ones(3, 4).double()) @ bumps
    own[:, 2] *= 1.1
    yaw = torch.linspace(-0.9, 0.9, 15).double()
    camera = orbit(yaw, 0.15, radius=2.7, focal=4.0)
    seen = 100 * own @ camera.rotation + 60  # rows times cam2world are in camera axes
    rotations, shape = bundle(model.points, seen, votes(yaw))
    found = torch.stack([angles(rotation)[0] for rotation in rotations])
    alone = torch.stack([angles(r)[0] for r in _alone(model.points, seen)])
    together = (found - yaw - (found - yaw).mean()).abs().max()
    assert float(together.rad2deg()) < 1.0
    assert together < 0.5 * (alone - yaw - (alone - yaw).mean()).abs().max()
    assert float((shape[:, 2] - (own - own.mean(0))[:, 2]).abs().mean()) < 0.01


def test_frames_that_are_alike_share_a_vote() -> None:
    """A clip that rests at the front has the same face as one that turns steadily."""
    turning = torch.linspace(-0.9, 0.9, 15).double()
    resting = torch.cat([turning, 1e-3 * torch.arange(40).double()])
    said = votes(resting)
    assert float(said.mean()) == pytest.approx(1)
    assert float(said[0] / votes(turning)[0]) == pytest.approx(float(said[1] / votes(turning)[1]))
    assert float(said[15:].sum() / said[0]) == pytest.approx(1, rel=0.3)


def test_frames_that_hardly_turn_keep_their_own_angles() -> None:
    """Their common face says less than each of them says alone."""
    model = FaceModel.load()
    for reach, kept in ((0.3, True), (0.5, False)):
        yaw = torch.linspace(-reach, reach, 9).double()
        points = 100 * model.points @ orbit(yaw, 0.1, radius=2.7, focal=4.0).rotation
        sights = [sight(model, frame) for frame in points]
        share_a_face(model, sights, correct=True)
        assert ([s.pitch for s in sights] == [7.0] * 9) == kept


def sight(model: FaceModel, points: torch.Tensor) -> Sight:
    """A frame whose pitch can't be mistaken for an estimate."""
    found = Landmarks(points, 1.0)
    made = Sight("a", "a", None, 0, 100, 100, found=found, pose=model.pose(found))
    assert made.pose is not None
    made.yaw, made.pitch = made.pose.yaw, 7.0
    return made


def _alone(mean: torch.Tensor, seen: torch.Tensor) -> list[torch.Tensor]:
    """Turns of the mean face as it is, by positions in the picture alone."""
    from inv3d.photos.given import flat_fit

    return [flat_fit(mean, frame[:, :2]) for frame in seen]
