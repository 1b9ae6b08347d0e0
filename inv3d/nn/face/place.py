"""Whether a face lies in a picture where a generator's camera would see it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.camera import Camera
from inv3d.nn.face.crop import placed_face, square_between
from inv3d.nn.face.reader import FaceReader

# pictures that generators make themselves, seen by their true cameras from up to 45 degrees aside,
# stay within 0.02, 0.07 and 6
_FAR, _LARGE, _TURNED_DEG = 0.04, 0.12, 10.0


@dataclass(frozen=True)
class Misplacement:
    """How a face lies in a picture, beside where it's expected.

    Attributes:
        right: by which part of the picture it lies further to the right.
        down: likewise, further down.
        scale: how many times as large it is.
        roll_deg: by how much it's turned clockwise, degrees.
    """

    right: float
    down: float
    scale: float
    roll_deg: float

    @property
    def small(self) -> bool:
        """Whether it's no more than landmarks are wrong by."""
        far = max(abs(self.right), abs(self.down)) > _FAR
        return not far and abs(math.log(self.scale)) <= _LARGE and abs(self.roll_deg) <= _TURNED_DEG

    def __str__(self) -> str:
        """Say it in words, such as "12 % of the picture too far right"."""
        said = []
        for part, words in ((self.right, ("right", "left")), (self.down, ("down", "up"))):
            if abs(part) > _FAR:
                said.append(f"{100 * abs(part):.0f} % of the picture too far {words[part < 0]}")
        if abs(math.log(self.scale)) > _LARGE:
            said.append(f"{self.scale:.2f} times as large as it should be")
        if abs(self.roll_deg) > _TURNED_DEG:
            said.append(f"turned by {abs(self.roll_deg):.0f} degrees")
        return ", ".join(said)


@torch.no_grad()
def misplacement(picture: Tensor, camera: Camera, alignment: Alignment) -> Misplacement | None:
    """Return how a face lies beside where a camera should see it; None where there's no sure one.

    Args:
        picture: [3, H, H] in [-1, 1].
        camera: one, that took it.
        alignment: of the generator.
    """
    reader = _reader()
    face = reader((picture.float().cpu() + 1) / 2, turn=False)
    if face is None or face.doubt:
        return None
    uv, _ = camera.to("cpu", torch.float64).project(placed_face(reader.model, alignment).double())
    square, size = square_between(uv[0], face.found.points[:, :2]), picture.shape[-1]
    # where the whole picture would have to be for the face to be where it's expected
    return Misplacement(
        square.x / size - 0.5, square.y / size - 0.5, square.side / size, math.degrees(square.roll)
    )


@lru_cache(maxsize=1)
def _reader() -> FaceReader:
    return FaceReader()
