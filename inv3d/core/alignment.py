"""Where a generator expects a face in its pictures: what photographs are cropped by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inv3d.core.camera import CameraPrior

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Alignment:
    """The place of a mean face in a generator's world, and the cameras that look at it.

    Attributes:
        camera: where training cameras stood; a crop is made so that one of them took it.
        right_eye, left_eye: middles of the subject's eyes, world units.
        nose: its tip.
        mouth_right, mouth_left: the subject's corners of the mouth.
        resolution: of the pictures, pixels a side.
        white: whether the background is white in its pictures.
    """

    camera: CameraPrior
    right_eye: Point
    left_eye: Point
    nose: Point
    mouth_right: Point
    mouth_left: Point
    resolution: int
    white: bool = False

    @property
    def points(self) -> Tensor:
        """The five points in the order in which they're named here, [5, 3]."""
        named = (self.right_eye, self.left_eye, self.nose, self.mouth_right, self.mouth_left)
        return torch.tensor(named, dtype=torch.float64)
