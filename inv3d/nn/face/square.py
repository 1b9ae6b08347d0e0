"""Squares of a picture, which may be turned and may reach beyond its edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Square:
    """A turned square in a picture.

    Attributes:
        x, y: its middle, pixels from the upper left corner of the picture.
        side: pixels.
        roll: radians by which it's turned clockwise as seen in the picture.
    """

    x: float
    y: float
    side: float
    roll: float = 0.0

    def matrix(self) -> Tensor:
        """Return [2, 3] that maps (u, v, 1), 0 to 1 in the square, to pixels of the picture."""
        c, s = math.cos(self.roll) * self.side, math.sin(self.roll) * self.side
        rows = [
            [c, -s, self.x - (c - s) / 2],
            [s, c, self.y - (s + c) / 2],
        ]
        return torch.tensor(rows, dtype=torch.float64)

    def to_picture(self, uv: Tensor) -> Tensor:
        """Map positions [..., 2], 0 to 1 in the square, to pixels of the picture."""
        matrix = self.matrix().to(uv)
        pixels: Tensor = uv @ matrix[:, :2].T + matrix[:, 2]
        return pixels

    def to_square(self, pixels: Tensor) -> Tensor:
        """Map pixels [..., 2] of the picture to positions in the square, 0 to 1 inside."""
        matrix = self.matrix().to(pixels)
        uv: Tensor = (pixels - matrix[:, 2]) @ torch.linalg.inv(matrix[:, :2]).T
        return uv

    def moved(self, roll: float, size: float, right: float, down: float) -> Square:
        """Return a changed square.

        Args:
            roll: radians by which it's turned further clockwise.
            size: logarithm of the factor of its side.
            right, down: parts of its side by which its middle moves along its own sides.
        """
        c, s = math.cos(self.roll) * self.side, math.sin(self.roll) * self.side
        x, y = self.x + c * right - s * down, self.y + s * right + c * down
        return Square(x, y, self.side * math.exp(size), self.roll + roll)

    def outside(self, width: int, height: int) -> float:
        """Return the share of the square that lies outside of a picture of that size."""
        steps = (torch.arange(32, dtype=torch.float64) + 0.5) / 32
        v, u = torch.meshgrid(steps, steps, indexing="ij")
        pixels = self.to_picture(torch.stack([u, v], -1))
        size = torch.tensor([width, height], dtype=torch.float64)
        inside = ((pixels >= 0) & (pixels <= size)).all(-1)
        return 1 - float(inside.double().mean())


def whole(width: int, height: int, roll: float = 0.0) -> Square:
    """Return the square around a whole picture."""
    return Square(width / 2, height / 2, float(max(width, height)), roll)


def cut(picture: Tensor, square: Square, size: int, *, fill: float | None = 0.0) -> Tensor:
    """Cut a square out of a picture and bring it to a size, filtered where it becomes smaller.

    Args:
        picture: [C, H, W], floating-point, or bytes that become 0 to 1.
        square: may reach beyond the picture.
        size: pixels a side of the result.
        fill: what lies outside of the picture; None continues its edge.

    Returns:
        [C, size, size].
    """
    part, left, top = _around(picture, square)
    part = part.float() / 255 if part.dtype == torch.uint8 else part
    height, width = part.shape[1:]
    shrink = max(1.0, square.side / size)
    small = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    if small != (height, width):
        part = F.interpolate(part[None], size=small, mode="bicubic", antialias=True)[0]
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    pixels = square.to_picture(torch.stack([u, v], -1)) - torch.tensor([left, top]).double()
    grid = pixels / torch.tensor([width, height]).double() * 2 - 1
    taken = F.grid_sample(
        part[None],
        grid[None].to(part),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )[0]
    if fill is None:
        return taken
    inside = (grid.abs() <= 1 + 1 / max(small)).all(-1)
    return torch.where(inside.to(part.device), taken, torch.full_like(taken, fill))


def _around(picture: Tensor, square: Square) -> tuple[Tensor, int, int]:
    """Return the part of a picture around a square, and where it begins: the rest is not needed."""
    height, width = picture.shape[1:]
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).double()
    pixels = square.to_picture(corners)
    margin = 4 * max(1.0, square.side / 64)
    low, high = pixels.amin(0) - margin, pixels.amax(0) + margin
    left = min(max(0, math.floor(low[0])), width - 1)
    top = min(max(0, math.floor(low[1])), height - 1)
    right = max(min(width, math.ceil(high[0])), left + 1)
    bottom = max(min(height, math.ceil(high[1])), top + 1)
    return picture[:, top:bottom, left:right], left, top
