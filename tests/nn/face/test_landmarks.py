"""The points of a face in a picture."""

from __future__ import annotations

import torch

from inv3d.nn.face.landmarks import Landmarker
from inv3d.nn.face.model import FaceModel, angles, rigid_fit
from inv3d.nn.face.square import Square
from tests.faces import as_bytes, heads


def test_a_mirrored_picture_has_mirrored_points() -> None:
    """The network alone turns every face to the same side."""
    picture, square = as_bytes(heads().images[4]), Square(64.0, 70.0, 50.0, 0.1)
    landmarker, model = Landmarker(), FaceModel.load()
    found = landmarker(picture, square, passes=1).points
    other = landmarker(picture.flip(-1), Square(64.0, 70.0, 50.0, -0.1), passes=1).points
    back = other[model.mirror.long()] * torch.tensor([-1.0, 1.0, 1.0]).double()
    back[:, 0] += picture.shape[-1]
    torch.testing.assert_close(back, found, atol=0.02, rtol=0)
    turns = [angles(rigid_fit(model.points, points))[0].rad2deg() for points in (found, other)]
    assert abs(float(turns[0] + turns[1])) < 0.05 and abs(float(turns[0])) > 5
