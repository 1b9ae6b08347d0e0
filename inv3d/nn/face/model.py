"""A mean face of 468 points, and how a head is turned whose points were found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from inv3d.core.weights.tensors import asset, load_state, read_tensors, under_prefix
from inv3d.nn.face.detector import Detection
from inv3d.nn.face.landmarks import COUNT, Landmarks
from inv3d.nn.face.program import FILE

PREFIX = "model."
# points of the subject's right and left eye (corners), the nose's tip, the corners of the mouth
RIGHT_EYE, LEFT_EYE, NOSE, MOUTH = (33, 133), (263, 362), (1,), (61, 291)
# what the detector's eyes, nose and mouth are among the landmarks
SEEN = (RIGHT_EYE, LEFT_EYE, NOSE, MOUTH)
_KEYPOINTS = 3


@dataclass(frozen=True)
class HeadPose:
    """How a head is turned, seen from the camera.

    Attributes:
        yaw: radians, of the camera around the head, positive to the subject's left, corrected.
        pitch: radians, positive where the camera looks from above.
        roll: radians by which the head is turned clockwise in the picture.
        uncorrected_yaw: as the rigid fit has it.
        error: how far the mean face, so turned, is from the points; part of their spread.
        disagreement: how far its eyes, nose and mouth are from those that the detector saw on its
            own; part of the side of the detector's box. NaN where there was no detector.
        rough_yaw: radians, of the detector's points alone, for profiles. NaN likewise.
    """

    yaw: float
    pitch: float
    roll: float
    uncorrected_yaw: float
    error: float
    disagreement: float = math.nan
    rough_yaw: float = math.nan


class FaceModel(nn.Module):
    """The mean face in a frame of its own: x to the subject's left, y up, z out of the face.

    Attributes:
        points: [468, 3], units of the embedded generator's world.
        mirror: [468] the point on the other side of the face.
        yaw_curve: [2] factors of the yaw and its third power, which undo its compression.
        rough: [6] factors that make a yaw of a detector's points.
    """

    points: Tensor
    mirror: Tensor
    yaw_curve: Tensor
    rough: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("points", torch.zeros(COUNT, 3))
        self.register_buffer("mirror", torch.zeros(COUNT))
        self.register_buffer("yaw_curve", torch.tensor([1.0, 0.0]))
        self.register_buffer("rough", torch.zeros(2 * _KEYPOINTS))

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Return the embedded model, or that of another file which tools/face wrote.

        Raises:
            WeightsError: where the file is missing or damaged.
        """
        path = path or asset(FILE)
        model = cls()
        load_state(model, under_prefix(read_tensors(path)[0], PREFIX), path)
        return model.double().eval().requires_grad_(False)

    def anchors(self) -> Tensor:
        """Return eyes, nose and corners of the mouth, [5, 3], as `Alignment.points` has them."""
        return torch.cat([face_points(self.points, SEEN[:3]), self.points[list(MOUTH)]])

    def correct(self, yaw: Tensor) -> Tensor:
        """Undo the compression of yaws, radians, that a rigid fit to landmarks shows."""
        return self.yaw_curve[0] * yaw + self.yaw_curve[1] * yaw**3

    def rough_yaw(self, detection: Detection) -> Tensor:
        """Return the yaw, radians, that a detector's six points show; good in profile too."""
        return keypoint_features(detection) @ self.rough

    def pose(self, found: Landmarks, detection: Detection | None = None) -> HeadPose:
        """Fit the mean face to landmarks.

        Args:
            found: of a face.
            detection: of the same face, to see whether the landmarks can be true.
        """
        points = found.points.to(self.points)
        rotation = rigid_fit(self.points, points)
        yaw, pitch, roll = angles(rotation)
        shown = self._shown(rotation, points)
        spread = points[:, :2] - points[:, :2].mean(0)
        error = float((shown - points[:, :2]).norm() / spread.norm())
        uncorrected = float(yaw)
        corrected = float(self.correct(yaw))
        if detection is None:
            return HeadPose(corrected, float(pitch), float(roll), uncorrected, error)
        apart = face_points(shown, SEEN) - detection.points[:4].to(shown)
        disagreement = float(apart.norm(dim=1).mean()) / detection.square.side
        rough = float(self.rough_yaw(detection))
        return HeadPose(
            corrected, float(pitch), float(roll), uncorrected, error, disagreement, rough
        )

    def _shown(self, rotation: Tensor, points: Tensor) -> Tensor:
        """Where the mean face is in the picture, [468, 2], turned, scaled and moved to fit."""
        turned = (self.points @ rotation.T)[:, :2]
        middle = points[:, :2].mean(0)
        turned = turned - turned.mean(0)
        scale = (turned * (points[:, :2] - middle)).sum() / turned.square().sum()
        shown: Tensor = turned * scale + middle
        return shown


def face_points(points: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Return the means of groups of points, [G, D], of points [468, D]."""
    return torch.stack([points[list(group)].mean(0) for group in groups])


def keypoint_features(detection: Detection) -> Tensor:
    """What of a detection tells the yaw, [6]: nose, eyes and mouth beside the ears, and cubes."""
    square = detection.square
    upright = square.to_square(detection.points.double())
    ears = upright[4:].mean(0)
    across = torch.stack([upright[2], upright[:2].mean(0), upright[3]])[:, 0] - ears[0]
    return torch.cat([across, across**3])


def rigid_fit(model: Tensor, points: Tensor) -> Tensor:
    """Return the rotation [3, 3] that turns a model [P, 3] towards points [P, 3], any scale."""
    a, b = model - model.mean(0), points - points.mean(0)
    u, _, vt = torch.linalg.svd(a.T @ b)
    sign = torch.ones(3).to(model)
    sign[2] = torch.linalg.det(vt.T @ u.T)
    rotation: Tensor = vt.T @ torch.diag(sign) @ u.T
    return rotation


def angles(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return yaw, pitch and roll, radians, of a rotation from face axes to the camera's.

    Args:
        rotation: [3, 3]; the camera's axes are x right, y down, z forward.
    """
    towards = -rotation[2]
    yaw = torch.atan2(towards[0], towards[2])
    pitch = torch.asin(towards[1].clamp(-1, 1))
    up = rotation[:, 1]
    return yaw, pitch, torch.atan2(up[0], -up[1])


def similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scale, rotation [D, D] and shift [D] that bring points [P, D] onto others."""
    middle, goal = source.mean(0), target.mean(0)
    a, b = source - middle, target - goal
    u, s, vt = torch.linalg.svd(a.T @ b)
    sign = torch.ones(source.shape[1]).to(source)
    sign[-1] = torch.linalg.det(vt.T @ u.T)
    rotation = vt.T @ torch.diag(sign) @ u.T
    scale = (s * sign).sum() / a.square().sum()
    return scale, rotation, goal - scale * rotation @ middle
