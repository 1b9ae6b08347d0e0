"""A face of one's own and its turns, found together."""

from __future__ import annotations

import torch

from inv3d.core.camera import orbit
from inv3d.nn.face.model import FaceModel, angles
from inv3d.photos.bundle import bundle


def test_turns_of_a_face_that_differs_from_the_mean() -> None:
    model = FaceModel.load()
    rng = torch.Generator().manual_seed(3)
    bumps = 0.008 * torch.randn(4, 3, generator=rng, dtype=torch.float64)
    own = model.points + torch.sin(9 * model.points @ torch.ones(3, 4).double()) @ bumps
    own[:, 2] *= 1.1
    yaw = torch.linspace(-0.9, 0.9, 15).double()
    camera = orbit(yaw, 0.15, radius=2.7, focal=4.0)
    seen = 100 * own @ camera.rotation + 60  # rows times cam2world are in camera axes
    rotations, shape = bundle(model.points, seen)
    found = torch.stack([angles(rotation)[0] for rotation in rotations])
    alone = torch.stack([angles(r)[0] for r in _alone(model.points, seen)])
    together = (found - yaw - (found - yaw).mean()).abs().max()
    assert float(together.rad2deg()) < 1.0
    assert together < 0.5 * (alone - yaw - (alone - yaw).mean()).abs().max()
    assert float((shape[:, 2] - (own - own.mean(0))[:, 2]).abs().mean()) < 0.01


def _alone(mean: torch.Tensor, seen: torch.Tensor) -> list[torch.Tensor]:
    """Turns of the mean face as it is, by positions in the picture alone."""
    from inv3d.photos.given import flat_fit

    return [flat_fit(mean, frame[:, :2]) for frame in seen]
