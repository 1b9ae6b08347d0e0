"""The networks one after the other: a picture in, a face with its pose out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from inv3d.nn.face.detector import Detection, Detector
from inv3d.nn.face.landmarks import Landmarker, Landmarks
from inv3d.nn.face.model import FaceModel, HeadPose
from inv3d.nn.face.square import Square
from inv3d.nn.face.trust import doubt

QUARTERS = (0, 1, 3, 2)
# a face is surely the right way up below that disagreement, above that score of the detector
_AGREED, _CLEAR = 0.05, 0.75
# boxes of successive frames that share less of each other aren't the same face
_SAME = 0.2


@dataclass(frozen=True)
class Face:
    """A face that was found.

    Attributes:
        detection: by the detector.
        found: its landmarks.
        pose: of the head.
        doubt: why it can't be used; "" where it can.
        count: how many faces the picture has.
        rank: which of them this one is: 1 is the largest.
    """

    detection: Detection
    found: Landmarks
    pose: HeadPose
    doubt: str
    count: int
    rank: int


class FaceReader(nn.Module):
    """Finds the face of a picture, whichever way up that is."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = Detector()
        self.landmarker = Landmarker()
        self.model = FaceModel.load()

    def forward(
        self,
        picture: Tensor,
        *,
        rank: int = 1,
        near: Square | None = None,
        roll: float = 0.0,
        turn: bool = True,
    ) -> Face | None:
        """Return a face; None where there is none.

        Args:
            picture: [3, H, W] in [0, 1] or bytes.
            rank: which one where there are several: 1 is the largest. Where there are fewer, the
                smallest is taken.
            near: where it was in the frame before, which counts more than the rank.
            roll: which way up it's expected, radians; that's tried first.
            turn: where no face is surely the right way up, also try further quarters.
        """
        first = round(2 * roll / math.pi) % 4
        others = [quarter for quarter in QUARTERS if quarter != first] if turn else []
        best: Face | None = None
        for quarter in (first, *others):
            detections = self.detector(picture, quarter * math.pi / 2, count=rank)
            face = self._face(detections, picture, rank, near)
            if face is None:
                continue
            if _sure(face):
                return face
            best = face if best is None or _better(face, best) else best
        return best

    def _face(
        self, detections: Sequence[Detection], picture: Tensor, rank: int, near: Square | None
    ) -> Face | None:
        if not detections:
            return None
        rank = min(rank, len(detections))
        if near is not None:
            shared = [_shared(detection.square, near) for detection in detections]
            if max(shared) > _SAME:
                rank = shared.index(max(shared)) + 1
        detection = detections[rank - 1]
        found = self.landmarker(picture, detection.square)
        pose = self.model.pose(found, detection)
        return Face(detection, found, pose, doubt(found, pose, detection), len(detections), rank)


def _sure(face: Face) -> bool:
    agreed = face.pose.disagreement < _AGREED and face.detection.score > _CLEAR
    return agreed and not face.doubt


def _better(face: Face, other: Face) -> bool:
    """Whether a face is rather the right one: some are found the wrong way up too."""
    if bool(face.doubt) != bool(other.doubt):
        return bool(other.doubt)
    return face.detection.score > other.detection.score


def _shared(a: Square, b: Square) -> float:
    """How near two squares are: 1 is the same, 0 a side apart or more."""
    apart = math.hypot(a.x - b.x, a.y - b.y)
    return max(0.0, 1 - apart / max(a.side, b.side, 1e-9))
