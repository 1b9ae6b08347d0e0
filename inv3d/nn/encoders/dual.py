"""The dual encoder: one is true to the picture, one to what heads look like from elsewhere.

"Dual Encoder GAN Inversion for High-Fidelity 3D Head Reconstruction from Single Images" (NeurIPS
2024). Each is a TriPlaneNet; the second one is trained against a discriminator of the cells that
the picture's camera doesn't see. Their planes are stitched by what it sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.scene import Scene
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.encoders.occlusion import visible_cells
from inv3d.nn.encoders.triplanenet import PLANES, FirstLook, TriPlaneNet


@dataclass(frozen=True)
class Stitched:
    """What both encoders make of N pictures.

    Attributes:
        scene: the first one's where the cameras see its surface, the second one's elsewhere.
        first: N scenes of the first encoder.
        second: N scenes of the second encoder.
        visible: [N, 3, 1, ...], 1 in the cells of planes that are the first one's.
    """

    scene: Scene
    first: Scene
    second: Scene
    visible: Tensor

    def __getitem__(self, rows: Sequence[int]) -> Stitched:
        """Return some of the N."""
        index = list(rows)
        parts = (self.scene[index], self.first[index], self.second[index])
        return Stitched(*parts, self.visible[index])


class DualEncoder(nn.Module):
    """Two encoders of equal sizes.

    Args:
        first: true to the picture.
        second: plausible from other sides.
    """

    def __init__(self, first: TriPlaneNet, second: TriPlaneNet) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(
        self, generator: TriplaneGenerator, images: Tensor, camera: Camera, average: Tensor | None
    ) -> Stitched:
        """Return both encoders' scenes of pictures and what is stitched of them.

        The generator makes and renders the scenes of both latents as one batch.

        Args:
            generator: its renders must not be random.
            images: [N, 3, H, W] in [-1, 1].
            camera: N cameras.
            average: [1 or num_ws, w_dim], the generator's mean latent.
        """
        encoders, count = (self.first, self.second), len(images)
        ws = torch.cat([encoder.latents(images, average) for encoder in encoders])
        look = self.first.look(generator, ws, Camera.cat([camera, camera]))
        scenes = []
        for encoder, rows in zip(encoders, (slice(count), slice(count, None)), strict=True):
            part = _rows(look, rows)
            scenes.append(part.scene + encoder.offset(images, part))
        first, second = scenes
        visible = seen_by(generator, first, camera)
        return Stitched(Scene.where({PLANES: visible}, first, second), first, second, visible)


def _rows(look: FirstLook, rows: slice) -> FirstLook:
    mirrored = look.mirror_rendered
    return FirstLook(
        look.scene[rows], look.rendered[rows], None if mirrored is None else mirrored[rows]
    )


@torch.no_grad()
def seen_by(generator: TriplaneGenerator, scene: Scene, camera: Camera) -> Tensor:
    """Return 1 in the cells of planes that cameras see the surface in, [N, 3, 1, ...].

    Args:
        generator: of the scenes.
        scene: N scenes.
        camera: N cameras, one a scene.
    """
    planes, a = scene.parts[PLANES], generator.architecture
    seen = generator.render(scene, camera, outputs=("depth", "mask"))
    slices = planes.shape[3] if planes.ndim == 6 else None
    return visible_cells(
        seen.require("depth"),
        seen.require("mask"),
        camera,
        a.plane_axes,
        a.rendering.box_warp,
        planes.shape[-1],
        slices,
    )


def occluded_maps(planes: Tensor, visible: Tensor) -> Tensor:
    """Return what the discriminator sees, [N, C, R, R]: planes and slices in a row, visible ones 0.

    Args:
        planes: [N, 3, C', R, R] or [N, 3, C', D, R, R], encoded or the generator's own.
        visible: [N, 3, 1, ...], of the picture that is encoded, for both.
    """
    masked = planes * (1 - visible)
    return masked.flatten(1, -3)
