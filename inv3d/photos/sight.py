"""What is known of a frame once it was looked at; its pixels are forgotten."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.face.detector import Detection
from inv3d.nn.face.landmarks import Landmarks
from inv3d.nn.face.model import HeadPose
from inv3d.nn.face.quality import eye_opening, face_luma, sharpness
from inv3d.nn.face.reader import Face, FaceReader
from inv3d.nn.face.square import Square
from inv3d.nn.face.trust import LEAST_SIDE, TOO_SMALL
from inv3d.photos.sources import Shot

_THUMB = 16
NO_FACE = "no face found"


@dataclass
class Sight:
    """A frame that was looked at.

    Attributes:
        name, origin, time_s: as the shot has them.
        source: number of its source.
        width, height: of the frame, pixels.
        scale: pixels of the frame to one of the file's picture.
        faces: how many it shows.
        rank: which of them was taken: 1 is the largest; 0 where none was, or points were given.
        detection, found, pose: of the face, where there is one.
        sharpness, eyes: of the face, in units of their own.
        thumb: [16, 16] of the face, 0 to 1.
        yaw, pitch, roll: radians, as they'll be written.
        square: that is cut out.
        reasons: why it's left out; none where it's kept.
        by_hand: whether its yaw was given.
    """

    name: str
    origin: str
    time_s: float | None
    source: int
    width: int
    height: int
    scale: float = 1.0
    faces: int = 0
    rank: int = 0
    detection: Detection | None = None
    found: Landmarks | None = None
    pose: HeadPose | None = None
    sharpness: float = 0.0
    eyes: float = 0.0
    thumb: Tensor | None = None
    yaw: float = math.nan
    pitch: float = math.nan
    square: Square | None = None
    reasons: list[str] = field(default_factory=list)
    by_hand: bool = False

    @property
    def sort(self) -> str:
        """The first reason in a few words, by which frames are counted; "" where it's kept."""
        words = self.reasons[0] if self.reasons else ""
        return words.split(":")[0].split(" (")[0].split(" as ")[0]

    @property
    def kept(self) -> bool:
        """Whether it'll be written."""
        return not self.reasons


def look(
    reader: FaceReader,
    shot: Shot,
    source: int,
    *,
    rank: int,
    near: Square | None = None,
    roll: float = 0.0,
    turn: bool = True,
) -> Sight:
    """Look at a frame.

    Args:
        reader: the networks.
        shot: the frame.
        source: number of its source.
        rank: which face, 1 is the largest.
        near: where it was in the frame before.
        roll: which way up it's expected, radians.
        turn: also look for faces that are turned by further quarters.
    """
    height, width = shot.pixels.shape[1:]
    sight = Sight(shot.name, shot.origin, shot.time_s, source, width, height, shot.scale)
    unfit = _unfit(shot)
    if unfit:
        sight.reasons.append(unfit)
        return sight
    face: Face | None = reader(shot.pixels, rank=rank, near=near, roll=roll, turn=turn)
    if face is None:
        sight.reasons.append(NO_FACE)
        return sight
    sight.faces, sight.rank = face.count, face.rank
    sight.detection, sight.found, sight.pose = face.detection, face.found, face.pose
    sight.yaw, sight.pitch = face.pose.yaw, face.pose.pitch
    if face.doubt:
        sight.reasons.append(face.doubt)
    brightness = face_luma(shot.pixels, face.found)
    sight.sharpness = sharpness(brightness)
    sight.eyes = eye_opening(shot.pixels, face.found, brightness, face.pose.yaw)
    sight.thumb = F.adaptive_avg_pool2d(brightness[None], _THUMB)[0]
    return sight


def _unfit(shot: Shot) -> str:
    """Why a frame needn't be searched for faces; "" where it must."""
    height, width = shot.pixels.shape[1:]
    if min(height, width) < LEAST_SIDE:
        return f"{TOO_SMALL}: {width}x{height} pixels; a face must be {LEAST_SIDE:.0f} pixels wide"
    if shot.alpha is not None and int(shot.alpha.max()) == 0:
        return "transparent all over"
    return ""
