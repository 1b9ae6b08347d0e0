"""What of a picture is a person."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.nn.face.program import load_program
from inv3d.nn.face.square import Square, cut

SIZE = 256


class Matte(nn.Module):
    """Tells person from background."""

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
        image = cut(picture, square, SIZE, fill=None)[None].clamp(0, 1)
        cover: Tensor = self.network(image)[0]
        if size == SIZE:
            return cover[0]
        resized = F.interpolate(cover, (size, size), mode="bicubic", antialias=size < SIZE)
        return resized[0].clamp(0, 1)
