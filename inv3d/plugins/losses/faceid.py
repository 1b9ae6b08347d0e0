"""Identity of human faces in photographs, by an embedded network: no download."""

from __future__ import annotations

from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.nn.face.identity import SIZE, FaceIdentity, face_square
from inv3d.nn.face.reader import FaceReader
from inv3d.nn.face.square import Square, cut
from inv3d.plugins.losses.options import FaceIDConfig

# where the face is in an aligned picture, if it isn't found in any of them
_USUAL = (0.5, 0.5, 0.6, 0.0)
# under the root, whose slope would be infinite for equal faces
_LEAST = 1e-12


class FaceID(Loss[FaceIDConfig, dict[str, Tensor]]):
    """Distance between the embeddings of rendered and target face.

    Where the face is, is looked for in the target; the rendering is cut at the same place.
    """

    name = "faceid"
    summary = "distance of embedded face descriptors; real human faces; needs no download"
    licence = "Apache-2.0; network: dlib's, CC0-1.0"
    reference = "dlib's ResNet for face recognition (King 2017), after He et al. 2016"
    Config = FaceIDConfig
    replayable = True

    def __init__(self, config: FaceIDConfig, network: FaceIdentity) -> None:
        super().__init__(config)
        self.network = network

    @classmethod
    def create(cls, config: FaceIDConfig) -> Self:
        """Build the loss with its network.

        Raises:
            WeightsError: where the weights are missing or of another network.
        """
        return cls(config, FaceIdentity.load(config.weights))

    def prepare(self, target: Target) -> dict[str, Tensor]:
        """Return where the targets' faces are, [N, 4], and their embeddings, [N, 128]."""
        squares = face_squares(target.images).to(target.images.device)
        return {"squares": squares, "embeddings": self.embed(target.images, squares)}

    def embed(self, images: Tensor, squares: Tensor) -> Tensor:
        """Return the embeddings [N, 128] of faces.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            squares: [N, 4], as `face_squares` returns them.
        """
        size = images.shape[-1]
        faces = [
            cut(image, Square(x * size, y * size, side * size, roll), SIZE, fill=None)
            for image, (x, y, side, roll) in zip(images, squares.tolist(), strict=True)
        ]
        embeddings: Tensor = self.network(torch.stack(faces))
        return embeddings

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:
        """Return the distance of every view, [N]; below 0.6 it's mostly the same person."""
        found = self.embed(rendering.require("image"), cache["squares"])
        return ((found - cache["embeddings"]).square().sum(1) + _LEAST).sqrt()


@torch.no_grad()
def face_squares(images: Tensor) -> Tensor:
    """Return where faces are in images [N, 3, H, W] in [-1, 1].

    Where none is found, it's looked for where those of the other images are, or in the middle.

    Returns:
        [N, 4] in double precision: middle and side as parts of the picture's side, and roll,
        radians.
    """
    found = [_face_square((image.float().cpu() + 1) / 2) for image in images]
    known = [square for square in found if square is not None]
    usual = torch.tensor(_USUAL, dtype=torch.float64)
    if known:
        usual = torch.stack(known).mean(0)
        usual[3] = 0.0
    return torch.stack([usual if square is None else square for square in found])


def _face_square(picture: Tensor) -> Tensor | None:
    face = _reader()(picture, turn=False)
    if face is None or face.doubt:
        return None
    square, size = face_square(face.found), picture.shape[-1]
    place = (square.x / size, square.y / size, square.side / size, square.roll)
    return torch.tensor(place, dtype=torch.float64)


@lru_cache(maxsize=1)
def _reader() -> FaceReader:
    return FaceReader()
