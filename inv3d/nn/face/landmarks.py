"""468 points of a face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inv3d.core.weights.tensors import asset, read_tensors
from inv3d.nn.face.program import FILE, load_program
from inv3d.nn.face.square import Square, cut

SIZE = 192
COUNT = 468
# top of the forehead and chin: the line between them stays upright when the head turns, while
# that between the eyes shrinks to nothing
_TOP, _CHIN = 10, 152
# the square that is looked at, as a multiple of the box of a detection or of the points
_MARGIN = 1.5
# the pairs of points on both sides of the face, in the file of the networks
_PAIRS = "model.mirror"


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
    """Finds the points of a face whose place is roughly known.

    The network turns every face about a degree to the same side. So it looks at the mirror image
    too, and the two answers are averaged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = load_program("landmarks")
        self.pairs = read_tensors(asset(FILE))[0][_PAIRS].long()

    def forward(self, picture: Tensor, square: Square, passes: int = 2) -> Landmarks:
        """Return the points of a face.

        Args:
            picture: [3, H, W] in [0, 1] or bytes.
            square: around the face, as a detection has it.
            passes: after the first, each looks at the square around the points before; the
                last one also looks at its mirror image.
        """
        for _ in range(passes - 1):
            square = self._look(picture, square, mirrored=False).square
        return self._look(picture, square, mirrored=True)

    def _look(self, picture: Tensor, square: Square, *, mirrored: bool) -> Landmarks:
        around = Square(square.x, square.y, square.side * _MARGIN, square.roll)
        image = cut(picture, around, SIZE)[None]
        points, presence = self.network(torch.cat([image, image.flip(-1)]) if mirrored else image)
        rows = points.view(-1, COUNT, 3).double() / SIZE
        if mirrored:
            rows[1, :, 0] = 1 - rows[1, :, 0]
            rows[1] = rows[1, self.pairs]
        row = rows.mean(0)
        pixels = around.to_picture(row[:, :2])
        sure = float(torch.sigmoid(presence.flatten()).mean())
        return Landmarks(torch.cat([pixels, row[:, 2:] * around.side], 1), sure)
