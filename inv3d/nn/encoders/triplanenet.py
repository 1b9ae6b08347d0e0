"""TriPlaneNet: a picture to latents, and to what they lack in the planes of the volume.

Bhattarai et al., TriPlaneNet: An Encoder for EG3D Inversion (WACV 2024). The two branches have the
names of the published files, which load by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.errors import UnsupportedError
from inv3d.core.generator import Generator
from inv3d.core.geometry.views import mirrored_camera
from inv3d.core.scene import Scene
from inv3d.nn.choices import Precision
from inv3d.nn.encoders.encode import encode, make_encoder
from inv3d.nn.encoders.options import BranchOptions, EncoderOptions
from inv3d.nn.encoders.plane_branch import PlaneBranch, differences
from inv3d.nn.precision import run_in
from inv3d.nn.resample import resize

PLANES = "planes"
# cells a side that the second branch's smallest map makes one of
_HALVED = 16


@dataclass(frozen=True)
class FirstLook:
    """What the latents alone make.

    Attributes:
        scene: N scenes.
        rendered: [N, 3, H, H] in [-1, 1], from the pictures' cameras.
        mirror_rendered: [N, 3, H, H], from the mirrored cameras; None in version 1.
    """

    scene: Scene
    rendered: Tensor
    mirror_rendered: Tensor | None


class TriPlaneNet(nn.Module):
    """Both branches.

    Args:
        encoder: options of the first one.
        branch: options of the second one.
        num_ws: latents that the generator takes.
        w_dim: numbers of a latent.
        plane_channels: of all planes (and slices) of the generator together.

    Attributes:
        precision: of the convolutions of both branches, see `run_in`.
    """

    precision: Precision

    def __init__(
        self,
        encoder: EncoderOptions,
        branch: BranchOptions,
        num_ws: int,
        w_dim: int,
        plane_channels: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.num_ws = num_ws
        self.version = branch.version
        self.precision = "fp32"
        self.psp_encoder = make_encoder(encoder, num_ws, w_dim)
        self.triplanenet_encoder = PlaneBranch(branch, plane_channels)

    def latents(self, images: Tensor, average: Tensor | None) -> Tensor:
        """Return the first branch's latents, [N, num_ws, w_dim].

        Args:
            images: [N, 3, H, W] in [-1, 1].
            average: [1 or num_ws, w_dim], the generator's mean latent.
        """
        return encode(self.psp_encoder, images, self.encoder, self.num_ws, average, self.precision)

    def look(self, generator: Generator, ws: Tensor, camera: Camera) -> FirstLook:
        """Return what latents alone make: scenes and renders, in version 2 from both sides.

        Args:
            generator: its renders must not be random.
            ws: [N, num_ws, w_dim].
            camera: N, those of the pictures.
        """
        scene = generator.synthesize(ws)
        if self.version == 1:
            return FirstLook(scene, generator.render(scene, camera).require("image"), None)
        mirrored = mirrored_camera(camera)
        pairs = [Camera.cat([camera[i], mirrored[i]]) for i in range(len(camera))]
        images = generator.render(scene, Camera.cat(pairs)).require("image")
        return FirstLook(scene, images[::2], images[1::2])

    def offset(self, images: Tensor, first: FirstLook) -> dict[str, Tensor]:
        """Return what to add to the scenes, {"planes": [N, ...]}; its gradient is the branch's own.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            first: what the latents alone make of them.

        Raises:
            UnsupportedError: where the scenes have no planes, or of a size that can't be halved.
        """
        if PLANES not in first.scene.parts:
            raise UnsupportedError(
                "TriPlaneNet changes planes, but scenes of this generator have only "
                f"{', '.join(first.scene.parts)}; take a generator of tri-planes or tri-grids"
            )
        planes = first.scene.parts[PLANES].detach()
        size = planes.shape[-1]
        if planes.shape[-2] != size or size % _HALVED:
            raise UnsupportedError(
                f"TriPlaneNet's second branch halves planes four times, but this generator's are "
                f"{size}x{planes.shape[-2]}; take a generator whose planes are square, of a "
                f"multiple of {_HALVED} cells a side, or method e4e"
            )
        pictures = (images, first.rendered, first.mirror_rendered)
        seen = [resize(x, size) for x in pictures if x is not None]
        maps = planes.reshape(len(planes), -1, size, size)
        change = run_in(self.precision, self.triplanenet_encoder, differences(*seen), maps)
        return {PLANES: change.reshape(planes.shape)}

    def forward(
        self, generator: Generator, images: Tensor, camera: Camera, average: Tensor | None
    ) -> tuple[FirstLook, dict[str, Tensor]]:
        """Return what the latents of pictures make, and what to add to it; see `offset`.

        From then on, any camera sees `first.scene + offset`; no network but the generator runs.

        Args:
            generator: its renders must not be random.
            images: [N, 3, H, W] in [-1, 1].
            camera: N cameras.
            average: see `latents`.
        """
        first = self.look(generator, self.latents(images, average), camera)
        return first, self.offset(images, first)
