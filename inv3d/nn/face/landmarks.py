"""468 points of a face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inv3d.nn.face.program import load_program
from inv3d.nn.face.square import Square, cut

SIZE = 192
COUNT = 468
# top of the forehead and chin: the line between them stays upright when the head turns, while
# that between the eyes shrinks to nothing
_TOP, _CHIN = 10, 152
# the square that is looked at, as a multiple of the box of a detection or of the points
_MARGIN = 1.5


@dataclass(frozen=True)
class Landmarks:
    """The points of one face.

    Attributes:
        points: [468, 3] pixels of the picture, z in the same unit, smaller is nearer.
        presence: how sure the network is that there's a face, 0 to 1.
    """

    points: Tensor
    presence: float

    @property
    def square(self) -> Square:
        """The square around the points, turned so that the chin is below the forehead."""
        down = self.points[_CHIN, :2] - self.points[_TOP, :2]
        roll = math.atan2(-float(down[0]), float(down[1]))
        upright = Square(0.0, 0.0, 1.0, roll)
        uv = upright.to_square(self.points[:, :2])
        middle = upright.to_picture((uv.amin(0) + uv.amax(0)) / 2)
        side = float((uv.amax(0) - uv.amin(0)).max())
        return Square(float(middle[0]), float(middle[1]), side, roll)


class Landmarker(nn.Module):
    """Finds the points of a face whose place is roughly known."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_program("landmarks")

    def forward(self, picture: Tensor, square: Square, passes: int = 2) -> Landmarks:
        """Return the points of a face.

        Args:
            picture: [3, H, W] in [0, 1] or bytes.
            square: around the face, as a detection has it.
            passes: after the first, each looks at the square around the points before.
        """
        found = self._look(picture, square)
        for _ in range(passes - 1):
            found = self._look(picture, found.square)
        return found

    def _look(self, picture: Tensor, square: Square) -> Landmarks:
        around = Square(square.x, square.y, square.side * _MARGIN, square.roll)
        image = cut(picture, around, SIZE)[None]
        points, presence = self.network(image)
        rows = points.flatten().view(COUNT, 3).double() / SIZE
        pixels = around.to_picture(rows[:, :2])
        depth = rows[:, 2:] * around.side
        sure = float(torch.sigmoid(presence.flatten()[0]))
        return Landmarks(torch.cat([pixels, depth], 1), sure)
