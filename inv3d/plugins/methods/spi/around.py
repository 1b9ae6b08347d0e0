"""Terms of the tuning stage: views around the picture and its mirror image, and the depth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics
from inv3d.core.generator import Generator
from inv3d.core.geometry.depth import pixel_centres
from inv3d.core.geometry.views import flipped, mirrored_camera, turned_camera
from inv3d.core.geometry.warp import look_up, resized_depth, warp_view
from inv3d.core.scene import Rendering
from inv3d.plugins.methods.spi.config import WHO, AroundOptions, SymmetricTuningOptions
from inv3d.plugins.methods.spi.losses import TuningLosses, compare
from inv3d.plugins.methods.spi.mirror import mirror_image

_DRAWS = 1 << 24
# side of the squares around eyes and mouth, in parts of the picture's: 80 of 512 pixels
_PART = 80 / 512


@dataclass
class Around:
    """The looks of a step besides that of the picture.

    Attributes:
        generator: that's tuned.
        ws: [1, num_ws, w_dim].
        capture: the picture, one view.
        losses: of warped pictures, and of mirrored ones.
        options: of the tuning stage.
        weight: of the mirrored view, by the symmetry prior; 0 leaves it out.
        context: of the run.
        values: what the terms of the last step were.
    """

    generator: Generator
    ws: Tensor
    capture: Capture
    losses: TuningLosses
    options: SymmetricTuningOptions
    weight: float
    context: Context
    values: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mirrored = mirror_image(self.capture)
        self.alignment: Alignment | None = None
        if self.options.around.mirrored.parts and self.options.mirror and self.weight:
            self.alignment = self.generator.faces
            if self.alignment is None:
                self.context.notice(
                    f"{WHO}: generator {self.generator.spec.name} doesn't say where eyes and mouth "
                    "are in its pictures, so that mirrored views are compared whole"
                )
        self.original: Generator | None = None
        if self.options.depth:
            self.original = copy.deepcopy(self.generator)
            self.original.rng = self.generator.rng
            with torch.no_grad():
                self.scene = self.original.synthesize(self.ws)

    def looks(self) -> list[Look]:
        """Draw the cameras of a step."""
        self.values = {}
        looks = []
        if parts := self._parts():
            looks.append(self._warped(parts))
        if self.original is not None:
            looks.append(self._depth(self.original))
        return looks

    def metrics(self) -> Metrics:
        """What each term was, for the log."""
        return self.values

    def _parts(self) -> dict[str, tuple[Capture, float]]:
        """The pictures that are warped, and their weights."""
        options = self.options
        parts = {"rotation": (self.capture, options.rotation)}
        if self.weight:
            parts["mirror"] = (self.mirrored, options.mirror)
        return {name: part for name, part in parts.items() if part[1]}

    def _warped(self, parts: Mapping[str, tuple[Capture, float]]) -> Look:
        """The picture's camera, for its depth, and the cameras around each part."""
        around = [self._nearby(picture.camera) for picture, _ in parts.values()]

        def terms(seen: Rendering, cameras: Camera) -> Tensor:
            images, depth = seen.require("image"), seen.require("depth").detach()
            total, count = images.new_zeros(()), self.options.batch
            for index, (name, (picture, weight)) in enumerate(parts.items()):
                rows = slice(1 + index * count, 1 + (index + 1) * count)
                source = flipped(depth[:1]) if picture is self.mirrored else depth[:1]
                value = self._difference(picture, source, images[rows], cameras[rows], depth[rows])
                self.values[name] = value.detach()
                total = total + weight * value
            return total

        cameras = Camera.cat([self.capture.camera, *around])
        return Look(cameras, joint=terms, outputs=("image", "depth"))

    def _difference(
        self, picture: Capture, source: Tensor, images: Tensor, cameras: Camera, depth: Tensor
    ) -> Tensor:
        """Compare views with the warped picture, where it's seen."""
        cut = Camera(cameras.cam2world.detach(), cameras.intrinsics.detach())
        with torch.no_grad():
            target, seen = warped_picture(picture, source, cut, depth, self.options.around)
        if picture is not self.mirrored:
            return compare(self.losses.nearby, images * seen, target * seen, seen)
        parts = [flipped(images * seen), flipped(target * seen), flipped(seen)]
        if self.alignment is not None:
            where = part_centres(mirrored_camera(cut), self.alignment)
            parts = [cut_out(part, where) for part in parts]
        return compare(self.losses.mirror, *parts)

    def _nearby(self, camera: Camera) -> Camera:
        options = self.options
        yaw = options.around.yaw * self._uniform().to(camera.cam2world)
        return turned_camera(camera, yaw, options.around.pitch * self._uniform().to(yaw))

    def _uniform(self) -> Tensor:
        """Random numbers from -1 to 1, one a camera, the same on every device."""
        draws = [self.context.randint(_DRAWS) for _ in range(self.options.batch)]
        return 2 * (torch.tensor(draws, dtype=torch.float64) + 0.5) / _DRAWS - 1

    def _depth(self, original: Generator) -> Look:
        """Random cameras from which the depth stays what it was before the tuning."""
        options = self.options
        height = options.depth_rise + options.depth_pitch * self._uniform()
        # EG3D's vertical number is even in the sine of the pitch
        pitch = (2 / torch.pi * height).clamp(-1, 1).asin()
        cameras = original.spec.camera.orbit(options.depth_yaw * self._uniform(), pitch)
        cameras = cameras.to(self.ws.device, self.ws.dtype)
        with torch.no_grad():
            before = original.render(self.scene, cameras, outputs=("depth",)).require("depth")

        def change(seen: Rendering, _: Camera) -> Tensor:
            value = (seen.require("depth") - before).square().mean()
            self.values["depth"] = value.detach()
            return options.depth * value

        return Look(cameras, joint=change, outputs=("depth",))


def part_centres(camera: Camera, alignment: Alignment) -> Tensor:
    """Return where N cameras see mouth, left and right eye of a mean face, [N, 3, 2], 0 to 1."""
    right_eye, left_eye, _, *mouth = alignment.points
    points = torch.stack([sum(mouth, torch.zeros(3).to(right_eye)) / 2, left_eye, right_eye])
    uv, _ = camera.project(points.to(camera.cam2world))
    return uv


def cut_out(images: Tensor, centres: Tensor, share: float = _PART) -> Tensor:
    """Return squares of pictures, [N * P, C, s, s]; what lies beyond a picture is 0.

    Args:
        images: [N, C, H, W].
        centres: [N, P, 2], 0 to 1.
        share: side of a square in parts of the picture's.
    """
    side = max(2, round(share * images.shape[-1]))
    away = share * (pixel_centres(side, side, images) - 0.5)
    uv = centres[:, :, None, None] + away
    return look_up(images.repeat_interleave(uv.shape[1], 0), uv.flatten(0, 1))


def warped_picture(
    picture: Capture,
    source: Tensor,
    cameras: Camera,
    depth: Tensor,
    options: AroundOptions,
) -> tuple[Tensor, Tensor]:
    """Return a picture from N other cameras, [N, 3, H, W], and where it's seen, [N, 1, H, W].

    Args:
        picture: one view.
        source: [1, 1, h, w], its depth.
        cameras: N.
        depth: [N, 1, h, w], theirs.
        options: tolerance, and whether the picture's mask counts.
    """
    masks = picture.masks if options.mask else None
    whole = picture.images if masks is None else torch.cat([picture.images, masks], dim=1)
    size = picture.images.shape[-2:]
    warped = warp_view(
        whole,
        picture.camera,
        resized_depth(source, size),
        cameras,
        depth,
        tolerance=options.tolerance,
        both_sides=True,
    )
    seen = warped.seen if masks is None else warped.seen * warped.image[:, 3:]
    return warped.image[:, :3], seen
