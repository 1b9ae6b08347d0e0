"""A pinhole camera of a whole picture in pixels, with the distortion of its lens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.errors import InputError

# names of camera models whose rays are straight but for a lens distortion; "" is no name
MODELS = ("", "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV")
_NEGLIGIBLE = 1e-8
# of a picture's shorter side: it would see 157 degrees
_LEAST_FOCAL = 0.1


@dataclass(frozen=True)
class Pinhole:
    """Focal lengths and centre in pixels, and what the lens does to a direction.

    A direction (x, y) is multiplied by (1 + radial[0] r^2 + radial[1] r^4 + ...) over the same with
    `divisor`, and shifted by the tangential part, as OpenCV has it.

    Attributes:
        width: of the picture, pixels.
        height: of the picture, pixels.
        fx: focal length, pixels.
        fy: focal length, pixels.
        cx: from the left edge, pixels.
        cy: from the upper edge, pixels.
        radial: k1, k2, k3, ...
        divisor: k4, k5, k6 of OpenCV's rational model.
        tangential: p1, p2.
    """

    width: float
    height: float
    fx: float
    fy: float
    cx: float
    cy: float
    radial: tuple[float, ...] = ()
    divisor: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)

    @property
    def distorted(self) -> bool:
        """Whether the lens bends anything."""
        return bool(self.distortion)

    @property
    def distortion(self) -> str:
        """What of it isn't zero, for messages: "k1 -0.3, p2 0.001"."""
        numbered = [*self.radial, *self.divisor]
        named = [(f"k{i}", k) for i, k in enumerate(numbered, 1)]
        named += zip(("p1", "p2"), self.tangential, strict=True)
        return ", ".join(f"{name} {k:g}" for name, k in named if abs(k) > _NEGLIGIBLE)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the picture, pixels."""
        return self.width, self.height

    def square(self) -> list[float]:
        """Return the intrinsics of the square in the middle, divided by its side, 9 numbers."""
        side = min(self.width, self.height)
        left, top = (float((length - side) // 2) for length in self.size)
        cx, cy = (self.cx - left) / side, (self.cy - top) / side
        return [self.fx / side, 0.0, cx, 0.0, self.fy / side, cy, 0.0, 0.0, 1.0]

    def bent(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the lens moves directions (x, y), in units of the focal length."""
        square = x * x + y * y
        factor = _polynomial(self.radial, square) / _polynomial(self.divisor, square)
        p1, p2 = self.tangential
        return (
            x * factor + 2 * p1 * x * y + p2 * (square + 2 * x * x),
            y * factor + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
        )

    def undistorted(self, image: Image.Image, *, smooth: bool = True) -> Image.Image:
        """Return a picture as this camera would take it with a perfect lens.

        Args:
            image: of 8 bits a channel, or one channel of 16; any size of the same shape.
            smooth: interpolate between pixels; the nearest one otherwise.
        """
        pixels = np.asarray(image)
        grid = self._sources(image.width, image.height)
        found = F.grid_sample(
            torch.from_numpy(pixels.astype(np.float32)).reshape(*pixels.shape[:2], -1)
            .permute(2, 0, 1)[None],
            grid[None],
            mode="bilinear" if smooth else "nearest",
            padding_mode="border",
            align_corners=False,
        )  # fmt: skip
        levels = found[0].permute(1, 2, 0).round().numpy().reshape(pixels.shape)
        return Image.fromarray(levels.astype(pixels.dtype))

    def _sources(self, width: int, height: int) -> Tensor:
        """Where each pixel of a picture comes from, [height, width, 2] in [-1, 1]."""
        u = (torch.arange(width, dtype=torch.float64) + 0.5) * self.width / width
        v = (torch.arange(height, dtype=torch.float64) + 0.5) * self.height / height
        y, x = torch.meshgrid((v - self.cy) / self.fy, (u - self.cx) / self.fx, indexing="ij")
        x, y = self.bent(x, y)
        u, v = x * self.fx + self.cx, y * self.fy + self.cy
        return torch.stack([2 * u / self.width - 1, 2 * v / self.height - 1], dim=-1).float()


def _polynomial(factors: tuple[float, ...], square: Tensor) -> Tensor:
    total = torch.ones_like(square)
    for power, factor in enumerate(factors, 1):
        total = total + factor * square**power
    return total


def check_model(name: str, where: str) -> None:
    """Refuse cameras that are no pinholes.

    Raises:
        InputError: naming the model.
    """
    if name not in MODELS:
        raise InputError(
            f"{where}: camera model {name}, only pinholes can be used; undistort the images to "
            "PINHOLE first (colmap image_undistorter)"
        )


def check_pinhole(camera: Pinhole, where: str) -> None:
    """Refuse sizes and focal lengths that no camera has.

    Raises:
        InputError: naming the number.
    """
    for name, value in (
        ("width", camera.width),
        ("height", camera.height),
        ("focal length", camera.fx),
        ("focal length", camera.fy),
    ):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{where}: {name} {value:g}, expected a number above 0")
    for name, focal in (("fx", camera.fx), ("fy", camera.fy)):
        if focal < _LEAST_FOCAL * min(camera.size):
            raise InputError(
                f"{where}: focal length {name} {focal:g} for a picture of {camera.width:g}x"
                f"{camera.height:g} pixels, which no lens has; give it in pixels, not divided by "
                "the picture's size"
            )
    others = (camera.cx, camera.cy, *camera.radial, *camera.divisor, *camera.tangential)
    if not all(map(math.isfinite, others)):
        raise InputError(f"{where}: centre or distortion isn't finite; calibrate that camera again")
