"""What of a picture is a person."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from inv3d.nn.face.program import load_program
from inv3d.nn.face.square import Square, cut

SIZE = 256
# sides of the squares that the network looks at, in sides of the one that is wanted
_LOOKS = (1.0, 1.3, 1.6)
# the part of a wider look that may lie outside of the picture
_OUTSIDE = 0.4


class Matte(nn.Module):
    """Tells person from background.

    The network leaves holes where it sees little of a person, and each look has others: what
    several looks and their mirror images say in the middle has half the error of a single one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = load_program("matte")

    def forward(self, picture: Tensor, square: Square, size: int) -> Tensor:
        """Return how much of a person there is in a square of a picture, [1, size, size], 0 to 1.

        Args:
            picture: [3, H, W] in [0, 1] or bytes.
            square: of it; the picture's edge is continued where it reaches beyond.
            size: pixels a side of the result.
        """
        looks = _looks(square, *picture.shape[1:])
        wide = [replace(square, side=square.side * look) for look in looks]
        images = torch.stack([cut(picture, one, SIZE, fill=None).clamp(0, 1) for one in wide])
        covers = [self.network(images)[0], self.network(images.flip(3))[0].flip(3)]
        inner = [Square(SIZE / 2, SIZE / 2, SIZE / look) for look in looks]
        parts = [
            cut(cover, one, size, fill=None)
            for cover, one in zip(torch.cat(covers), 2 * inner, strict=True)
        ]
        ordered = torch.stack(parts).sort(0).values
        middle: Tensor = ordered[len(looks) - 1 : len(looks) + 1].mean(0).clamp(0, 1)
        return middle


def _looks(square: Square, height: int, width: int) -> list[float]:
    """The looks that the picture has room for; the square itself always."""
    wide = [(look, replace(square, side=square.side * look)) for look in _LOOKS[1:]]
    return [_LOOKS[0], *(n for n, one in wide if one.outside(width, height) <= _OUTSIDE)]
