"""A mean face of 468 points, and how a head is turned whose points were found."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from inv3d.core.weights.tensors import asset, load_state, read_tensors, under_prefix
from inv3d.nn.face.correction import Correction, differences
from inv3d.nn.face.detector import Detection
from inv3d.nn.face.landmarks import COUNT, Landmarks
from inv3d.nn.face.program import FILE

PREFIX = "model."
# points of the subject's right and left eye (corners), the nose's tip, the corners of the mouth
RIGHT_EYE, LEFT_EYE, NOSE, MOUTH = (33, 133), (263, 362), (1,), (61, 291)
# what the detector's eyes, nose and mouth are among the landmarks
SEEN = (RIGHT_EYE, LEFT_EYE, NOSE, MOUTH)
_KEYPOINTS = 3
# of a square, as `HeadPose.square` has it
UNCHANGED = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class HeadPose:
    """How a head is turned, seen from the camera.

    Attributes:
        yaw: radians, of the camera around the head, positive to the subject's left, corrected.
        pitch: radians, positive where the camera looks from above, corrected.
        roll: radians by which the head is turned clockwise in the picture.
        uncorrected_yaw, uncorrected_pitch: as the rigid fit has them.
        square: changes, as `Square.moved` has them, of the square in which the mean face lies over
            the landmarks.
        error: how far the mean face, so turned, is from the points; part of their spread.
        disagreement: how far its eyes, nose and mouth are from those that the detector saw on its
            own; part of the side of the detector's box. NaN where there was no detector.
        rough_yaw: radians, of the detector's points alone, for profiles. NaN likewise.
    """

    yaw: float
    pitch: float
    roll: float
    uncorrected_yaw: float
    uncorrected_pitch: float
    square: tuple[float, float, float, float]
    error: float
    disagreement: float = math.nan
    rough_yaw: float = math.nan


class FaceModel(nn.Module):
    """The mean face in a frame of its own: x to the subject's left, y up, z out of the face.

    Attributes:
        points: [468, 3], units of the embedded generator's world.
        mirror: [468] the point on the other side of the face.
        rough: [6] factors that make a yaw of a detector's points.
        one: corrects the angles of a picture; told what it differs from the mean face.
        many: corrects those of frames that share a face; told what a frame and what the shared
            face differ from the mean one.
    """

    points: Tensor
    mirror: Tensor
    rough: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("points", torch.zeros(COUNT, 3))
        self.register_buffer("mirror", torch.zeros(COUNT))
        self.register_buffer("rough", torch.zeros(2 * _KEYPOINTS))
        self.one = Correction(1)
        self.many = Correction(2)

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

    def correct_one(self, points: Tensor, rotation: Tensor) -> Tensor:
        """Return the changes [6] of a face whose rigid fit has a rotation, see `Correction`.

        Args:
            points: [P, 3] landmarks, pixels.
            rotation: [3, 3] from face axes to the camera's.
        """
        yaw, pitch, _ = angles(rotation)
        apart = differences(self.points, points[None], rotation[None])
        changes: Tensor = self.one(yaw[None], pitch[None], apart[:, None])[0]
        return changes

    def correct_many(self, points: Tensor, rotations: Tensor, shape: Tensor) -> Tensor:
        """Return the changes [N, 6] of frames that share a face, see `Correction`.

        Args:
            points: [N, P, 3] landmarks, pixels.
            rotations: [N, 3, 3] as the shared face fits, from face axes to the camera's.
            shape: [P, 3] the shared face.
        """
        turns = yaws_and_pitches(rotations)
        frames = differences(self.points, points, rotations)
        straight = torch.eye(3).to(shape)[None]
        shared = differences(self.points, shape[None], straight).expand_as(frames)
        changes: Tensor = self.many(turns[:, 0], turns[:, 1], torch.stack([frames, shared], 1))
        return changes

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
        error = (shown - points[:, :2]).norm() / spread.norm()
        turn, nod, *square = self.correct_one(points, rotation).tolist()
        before = float(yaw), float(pitch)
        pose = HeadPose(
            before[0] + turn, before[1] + nod, float(roll), *before, tuple(square), float(error)
        )
        if detection is None:
            return pose
        apart = face_points(shown, SEEN) - detection.points[:4].to(shown)
        disagreement = float(apart.norm(dim=1).mean()) / detection.square.side
        rough = float(self.rough_yaw(detection))
        return replace(pose, disagreement=disagreement, rough_yaw=rough)

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


def yaws_and_pitches(rotations: Tensor) -> Tensor:
    """Return yaws and pitches [N, 2], radians, of rotations [N, 3, 3]."""
    return torch.stack([torch.stack(angles(rotation)[:2]) for rotation in rotations])


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
