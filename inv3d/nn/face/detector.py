"""Where faces are in a picture of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inv3d.nn.face.program import load_program
from inv3d.nn.face.square import Square, cut, whole

SIZE = 128
LEAST_SCORE = 0.5
# boxes that share that part of their union are one face
_SAME = 0.3
# (cells a side, anchors a cell) of the network's two maps
_MAPS = ((16, 2), (8, 6))
# sides of the squares that are searched one after the other, as parts of the picture
_PARTS = (1.0, 0.5, 0.25)
# what smaller parts show beside a face that was found is one above that score: patches look alike
_CLEAR = 0.75


@dataclass(frozen=True)
class Detection:
    """A face.

    Attributes:
        score: 0 to 1.
        square: around it from brow to chin, pixels of the picture, with the mouth below the eyes.
        points: [6, 2] pixels: the subject's right and left eye, nose, mouth, right and left ear.
    """

    score: float
    square: Square
    points: Tensor


class Detector(nn.Module):
    """Finds faces; small ones by looking at parts of the picture."""

    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = load_program("detector")
        self.register_buffer("anchors", _anchors())

    def forward(self, picture: Tensor, roll: float = 0.0, count: int = 1) -> list[Detection]:
        """Return the faces of a picture [3, H, W] in [0, 1] or bytes, the largest first.

        Args:
            picture: of any size.
            roll: radians by which the picture is believed to be turned.
            count: smaller ones are searched for until there are so many.
        """
        height, width = picture.shape[1:]
        found: list[Detection] = []
        for part in _PARTS:
            if part * max(width, height) < SIZE / 2 and part < 1:
                break
            tiles = _tiles(width, height, part, roll)
            seen = _merged([face for square in tiles for face in self._look(picture, square)])
            found += [face for face in seen if not found or _further(face, found)]
            if len(found) >= count:
                break
        return sorted(found, key=lambda d: -d.square.side)

    def _look(self, picture: Tensor, square: Square) -> list[Detection]:
        """Faces in one square of the picture."""
        image = cut(picture, square, SIZE)[None] * 2 - 1
        boxes, scores = self.network(image.to(self.anchors.dtype))
        scores = torch.sigmoid(scores[0, :, 0].clamp(-50, 50))
        rows = (scores >= LEAST_SCORE).nonzero().flatten().tolist()
        return [
            _detection(float(scores[i]), boxes[0, i] / SIZE, self.anchors[i], square) for i in rows
        ]


def _anchors() -> Tensor:
    """Middles of the cells, [896, 2] as (u, v)."""
    middles = [
        [(x + 0.5) / side, (y + 0.5) / side]
        for side, count in _MAPS
        for y in range(side)
        for x in range(side)
        for _ in range(count)
    ]
    return torch.tensor(middles)


def _detection(score: float, box: Tensor, anchor: Tensor, square: Square) -> Detection:
    """Decode a row of the network: middle, size, then six points: eyes, nose, mouth, ears."""
    middle = square.to_picture((anchor + box[:2]).double())
    points = square.to_picture((anchor + box[4:].view(6, 2)).double())
    down = points[3] - points[:2].mean(0)
    roll = math.atan2(-float(down[0]), float(down[1]))
    side = float(box[2:4].max()) * square.side
    return Detection(score, Square(float(middle[0]), float(middle[1]), side, roll), points)


def _tiles(width: int, height: int, part: float, roll: float) -> Iterator[Square]:
    """Squares of a size that cover a picture, overlapping by half."""
    around = whole(width, height, roll)
    if part == 1:
        yield around
        return
    side = around.side * part
    for y in _middles(height, side):
        for x in _middles(width, side):
            yield Square(x, y, side, roll)


def _middles(length: int, side: float) -> list[float]:
    if length <= side:
        return [length / 2]
    count = math.ceil(2 * (length - side) / side) + 1
    step = (length - side) / (count - 1)
    return [side / 2 + i * step for i in range(count)]


def _merged(found: list[Detection]) -> list[Detection]:
    """Average the boxes that mean the same face, by score; the best of them gives the roll."""
    left = sorted(found, key=lambda d: -d.score)
    faces = []
    while left:
        best = left[0]
        same = [d for d in left if _overlap(best.square, d.square) > _SAME]
        left = [d for d in left if d not in same]
        weights = torch.tensor([d.score for d in same]).double()
        boxes = torch.tensor([[d.square.x, d.square.y, d.square.side] for d in same]).double()
        x, y, side = (weights @ boxes / weights.sum()).tolist()
        points = torch.einsum("n,npc->pc", weights, torch.stack([d.points for d in same]))
        square = Square(x, y, side, best.square.roll)
        faces.append(Detection(best.score, square, points / weights.sum()))
    return faces


def _further(face: Detection, found: list[Detection]) -> bool:
    """Whether a face is surely one, and lies beside all that were found."""
    a = face.square
    others = (other.square for other in found)
    beside = (2 * max(abs(a.x - b.x), abs(a.y - b.y)) > max(a.side, b.side) for b in others)
    return face.score > _CLEAR and all(beside)


def _overlap(a: Square, b: Square) -> float:
    """Intersection over union of two squares, as if both were upright."""
    wide = min(a.x + a.side / 2, b.x + b.side / 2) - max(a.x - a.side / 2, b.x - b.side / 2)
    high = min(a.y + a.side / 2, b.y + b.side / 2) - max(a.y - a.side / 2, b.y - b.side / 2)
    both = max(0.0, wide) * max(0.0, high)
    return both / max(a.side**2 + b.side**2 - both, 1e-9)
