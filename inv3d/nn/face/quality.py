"""How sharp a face is, and how open its eyes are, in numbers that compare frames of one person."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.nn.face.landmarks import Landmarks
from inv3d.nn.face.model import LEFT_EYE, RIGHT_EYE
from inv3d.nn.face.square import Square, cut

_LUMA = (0.299, 0.587, 0.114)
_FACE, _EYE = 96, 24
# rows and columns of an eye's square between which iris and white are
_ROWS, _COLUMNS = slice(8, 16), slice(5, 19)
_DARKEST = 0.1
# top and bottom of the face, middles of the lids of both eyes
_FOREHEAD, _CHIN = 10, 152
_RIGHT_LIDS, _LEFT_LIDS = (159, 145), (386, 374)


def luma(picture: Tensor) -> Tensor:
    """Return the brightness [H, W] of a picture [3, H, W]."""
    return (picture * torch.tensor(_LUMA).to(picture)[:, None, None]).sum(0)


def face_luma(picture: Tensor, found: Landmarks) -> Tensor:
    """Return the brightness of a face, [96, 96]."""
    return luma(cut(picture, found.square, _FACE))


def sharpness(face: Tensor) -> float:
    """Return how much fine detail there is in a picture [H, W], relative to its contrast."""
    around = face[:-2, 1:-1] + face[2:, 1:-1] + face[1:-1, :-2] + face[1:-1, 2:]
    fine = face[1:-1, 1:-1] * 4 - around
    return float(fine.square().mean() / (face.var() + 1e-4))


def eye_opening(picture: Tensor, found: Landmarks, face: Tensor, yaw: float) -> float:
    """Return how open the eye is that is nearer to the camera.

    It's how far the lids are apart, part of the face's height, times how much darker the darkest
    tenth between the corners is than the face: landmarks of closed lids often stay open.

    Args:
        picture: [3, H, W] in [0, 1] or bytes.
        found: landmarks.
        face: its brightness, [96, 96].
        yaw: radians.
    """
    corners, lids = (LEFT_EYE, _LEFT_LIDS) if yaw > 0 else (RIGHT_EYE, _RIGHT_LIDS)
    points = found.points
    first, second = points[corners[0]], points[corners[1]]
    upper, lower = points[lids[0], :2], points[lids[1], :2]
    height = torch.linalg.vector_norm(points[_FOREHEAD] - points[_CHIN])
    apart = float(torch.linalg.vector_norm(upper - lower) / height)
    x, y = ((first + second) / 2)[:2].tolist()
    side = float(torch.linalg.vector_norm(first - second))
    eye = luma(cut(picture, Square(x, y, side, found.square.roll), _EYE))
    darkest = float(eye[_ROWS, _COLUMNS].quantile(_DARKEST))
    usual = float(face.median())
    return apart * max(0.0, 1 - darkest / max(usual, 1e-3))
