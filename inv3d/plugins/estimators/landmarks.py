"""Cameras from 468 landmarks: no download, no licence form, no training."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.errors import InputError, UnsupportedError
from inv3d.core.estimator import Estimator
from inv3d.core.generator import Generator
from inv3d.nn.face.crop import camera_at, placed_face
from inv3d.nn.face.reader import Face, FaceReader


class LandmarkConfig(PluginConfig):
    """How landmarks become cameras."""

    correct: bool = Field(
        default=True,
        description="correct yaw and pitch by what was measured on rendered heads",
    )
    trust: bool = Field(
        default=False, description="use landmarks too that can't be true, instead of refusing them"
    )


class LandmarkEstimator(Estimator[LandmarkConfig]):
    """A mean face is turned until it fits the landmarks, and moved until it lies over them."""

    name: ClassVar[str] = "landmarks"
    summary: ClassVar[str] = "cameras of human faces from 468 landmarks; embedded networks"
    licence: ClassVar[str] = "Apache-2.0; networks by the MediaPipe authors, Apache-2.0"
    reference: ClassVar[str] = "landmarks: Kartynnik et al. 2019, arXiv 1907.06724"
    Config: ClassVar[type[PluginConfig]] = LandmarkConfig

    def __init__(self, config: LandmarkConfig) -> None:
        super().__init__(config)
        self.reader = FaceReader()

    def get_ready(self, generator: Generator) -> None:
        """See that the generator shows faces.

        Raises:
            UnsupportedError: where it doesn't.
        """
        alignment_of(generator)

    @torch.no_grad()
    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        """Return the camera of every picture; no gradients, since landmarks are found by search.

        Args:
            images: [N, 3, H, W] in [-1, 1], each with a face, about as the generator shows it.
            generator: whose focal length, radius and coordinates the cameras have.

        Raises:
            UnsupportedError: where the generator shows no faces.
            InputError: where a picture shows none, or one whose landmarks can't be true.
        """
        alignment = alignment_of(generator)
        cameras = [
            self._camera(self._face(image, row), image, alignment)
            for row, image in enumerate(images)
        ]
        return Camera.cat(cameras).to(images.device, images.dtype)

    def _face(self, image: Tensor, row: int) -> Face:
        face: Face | None = self.reader((image.float() + 1) / 2, turn=False)
        if face is None:
            raise InputError(
                f"estimator landmarks: no face in picture {row + 1}; leave it out, or give cameras"
            )
        if face.doubt and not self.config.trust:
            raise InputError(
                f"estimator landmarks: picture {row + 1}: {face.doubt}; leave it out, or give its "
                "camera"
            )
        return face

    def _camera(self, face: Face, image: Tensor, alignment: Alignment) -> Camera:
        """The camera of the prior, shifted so that the mean face lies over the landmarks."""
        pose = face.pose
        turn = (pose.yaw, pose.pitch)
        if not self.config.correct:
            turn = (pose.uncorrected_yaw, pose.uncorrected_pitch)
        camera = camera_at(alignment, *torch.tensor(turn)[:, None])
        spin = torch.eye(4, dtype=torch.float64)
        c, s = math.cos(pose.roll), math.sin(pose.roll)
        spin[:2, :2] = torch.tensor([[c, s], [-s, c]])
        cam2world = camera.cam2world @ spin
        camera = Camera(cam2world, camera.intrinsics)
        uv = face.found.points[:, :2].to(cam2world) / image.shape[-1]
        world = placed_face(self.reader.model, alignment)
        shift = _shift(world, uv, camera)
        position = camera.position[0] + camera.rotation[0] @ shift
        cam2world = cam2world.clone()
        cam2world[0, :3, 3] = position * (alignment.camera.radius / position.norm())
        return Camera(cam2world, camera.intrinsics)


def _shift(world: Tensor, uv: Tensor, camera: Camera) -> Tensor:
    """How far a camera must move along its own axes so that points lie where they're seen, [3]."""
    local = (world - camera.position[0]) @ camera.rotation[0]
    focal = camera.intrinsics[0, 0, 0]
    ray = (uv - camera.intrinsics[0, :2, 2]) / focal
    # (x - dx) - r (z - dz) = 0 for both coordinates of every point
    ones, zeros = torch.ones(len(uv)).to(uv), torch.zeros(len(uv)).to(uv)
    rows = torch.cat(
        [torch.stack([ones, zeros, -ray[:, 0]], 1), torch.stack([zeros, ones, -ray[:, 1]], 1)]
    )
    goal = torch.cat([local[:, 0] - ray[:, 0] * local[:, 2], local[:, 1] - ray[:, 1] * local[:, 2]])
    moved: Tensor = torch.linalg.lstsq(rows, goal[:, None]).solution[:, 0]
    return moved


def alignment_of(generator: Generator) -> Alignment:
    """Return where a generator shows faces.

    Raises:
        UnsupportedError: where it shows none.
    """
    alignment = generator.faces
    if alignment is None:
        raise UnsupportedError(
            f"estimator landmarks: generator {generator.spec.name} doesn't say where faces are in "
            "its pictures; give cameras, or take a generator of faces"
        )
    return alignment
