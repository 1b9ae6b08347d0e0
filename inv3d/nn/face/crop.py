"""The square of a photograph that a generator's camera would have taken, and that camera."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.camera import Camera
from inv3d.nn.face.landmarks import Landmarks
from inv3d.nn.face.model import FaceModel, HeadPose, similarity
from inv3d.nn.face.square import Square


def placed_face(model: FaceModel, alignment: Alignment) -> Tensor:
    """Return the mean face in a generator's world, [468, 3]."""
    scale, rotation, shift = similarity(model.anchors(), alignment.points.to(model.points))
    return scale * model.points @ rotation.T + shift


def camera_at(alignment: Alignment, yaw: Tensor, pitch: Tensor) -> Camera:
    """Return the generator's cameras at angles [N] in radians, float64."""
    return alignment.camera.orbit(yaw.double(), pitch.double())


def square_for(model: FaceModel, alignment: Alignment, found: Landmarks, pose: HeadPose) -> Square:
    """Return the square in which the face is as a generator's camera sees it at that pose.

    Args:
        model: the mean face.
        alignment: of the generator.
        found: the landmarks, pixels.
        pose: of the head.
    """
    angles = torch.tensor([[pose.yaw], [pose.pitch]]).double()
    uv, _ = camera_at(alignment, *angles).project(placed_face(model, alignment))
    return square_between(uv[0], found.points[:, :2]).moved(*pose.square)


def square_between(uv: Tensor, pixels: Tensor) -> Square:
    """Return the square in which pixels [P, 2] of a picture lie at positions uv [P, 2], nearly."""
    scale, rotation, shift = similarity(uv, pixels.to(uv))
    roll = math.atan2(float(rotation[1, 0]), float(rotation[0, 0]))
    middle = scale * rotation @ torch.tensor([0.5, 0.5]).to(uv) + shift
    return Square(float(middle[0]), float(middle[1]), float(scale), roll)
