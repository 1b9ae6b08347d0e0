"""The mean face, and the squares that lie right for a generator's cameras."""

from __future__ import annotations

import math
from functools import lru_cache

import pytest
import torch

from inv3d.core.camera import CameraPrior, orbit
from inv3d.nn.face.crop import placed_face, square_for
from inv3d.nn.face.landmarks import COUNT, Landmarks
from inv3d.nn.face.model import UNCHANGED, FaceModel, angles, rigid_fit, similarity
from inv3d.nn.face.square import Square
from inv3d.plugins.generators.eg3d import EG3D, EG3DConfig
from inv3d.plugins.generators.minihead import ALIGNMENT, MiniHead, MiniHeadConfig
from inv3d.plugins.generators.panohead import PanoHead, PanoHeadConfig


@lru_cache(maxsize=1)
def model() -> FaceModel:
    return FaceModel.load()


def test_the_mean_face_is_symmetric_and_faces_forward() -> None:
    points, pairs = model().points, model().mirror.long()
    assert torch.equal(pairs[pairs], torch.arange(COUNT))
    flipped = points[pairs] * torch.tensor([-1.0, 1.0, 1.0]).double()
    torch.testing.assert_close(flipped, points, atol=1e-6, rtol=0)
    right, left, nose, *mouth = model().anchors()
    assert right[0] < 0 < left[0] and nose[2] > right[2] and mouth[0][1] < nose[1] < right[1]


@pytest.mark.parametrize("yaw_deg", [-60, 0, 25])
@pytest.mark.parametrize("pitch_deg", [-20, 10])
def test_angles_of_a_camera_come_back(yaw_deg: float, pitch_deg: float) -> None:
    yaw, pitch = (torch.tensor([math.radians(a)]).double() for a in (yaw_deg, pitch_deg))
    camera = orbit(yaw, pitch, radius=2.7, focal=4.0)
    roll = torch.tensor(0.3).double()
    c, s = roll.cos(), roll.sin()
    rolled = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]]).double()  # clockwise, y is down
    rotation = rolled @ camera.rotation[0].T
    seen = 3 * model().points @ rotation.T + torch.tensor([5.0, 6.0, 7.0]).double()
    found = torch.stack(angles(rigid_fit(model().points, seen)))
    torch.testing.assert_close(found, torch.cat([yaw, pitch, roll[None]]))


def test_a_similarity_comes_back() -> None:
    rng = torch.Generator().manual_seed(2)
    points = torch.rand(7, 3, generator=rng, dtype=torch.float64)
    turn = torch.linalg.qr(torch.rand(3, 3, generator=rng, dtype=torch.float64)).Q
    turn = turn * torch.linalg.det(turn)
    scale, rotation, shift = similarity(points, 2.5 * points @ turn.T + 4)
    torch.testing.assert_close(scale, torch.tensor(2.5).double())
    torch.testing.assert_close(rotation, turn)
    torch.testing.assert_close(shift, torch.full((3,), 4.0).double())


def test_the_square_of_a_face_is_the_picture_that_the_camera_took() -> None:
    yaw, pitch = torch.tensor([0.5]).double(), torch.tensor([-0.2]).double()
    uv, _ = ALIGNMENT.camera.orbit(yaw, pitch).project(model().points)
    true = Square(310.0, 190.0, 240.0, -0.2)
    pixels = torch.cat([true.to_picture(uv[0]), torch.zeros(COUNT, 1).double()], 1)
    found = Landmarks(pixels, 1.0)
    pose = model().pose(found).__class__(0.5, -0.2, -0.2, 0.5, -0.2, UNCHANGED, 0.0)
    made = square_for(model(), ALIGNMENT, found, pose)
    for name in ("x", "y", "side", "roll"):
        assert getattr(made, name) == pytest.approx(getattr(true, name), abs=0.5)


def test_minihead_has_its_faces_where_they_were_measured() -> None:
    torch.testing.assert_close(placed_face(model(), ALIGNMENT), model().points, atol=1e-3, rtol=0)
    assert MiniHead.alignment(MiniHeadConfig()) is ALIGNMENT


def test_faces_of_published_generators() -> None:
    eg3d = EG3D.alignment(EG3DConfig())
    assert eg3d is not None and eg3d.resolution == 512 and not eg3d.white
    uv, _ = eg3d.camera.front().project(eg3d.points[None].float())
    right, left = uv[0, :2]
    # of the 700 pixels that are kept, 300 are a unit of a face whose eyes are 0.62 apart
    assert float(left[0] - right[0]) == pytest.approx(0.62 * 300 / 700, abs=0.01)
    assert EG3D.alignment(EG3DConfig(variant="afhq")) is None
    lpff = EG3D.alignment(EG3DConfig(variant="lpff"))
    assert lpff is not None and lpff.camera.yaw_deg == 90
    assert PanoHead.alignment(PanoHeadConfig()) is not None
    assert isinstance(eg3d.camera, CameraPrior)
