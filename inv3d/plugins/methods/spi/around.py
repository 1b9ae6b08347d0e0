"""Terms of the tuning stage: views around the picture and its mirror image, and the depth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.errors import ConfigError
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics
from inv3d.core.fit.objective import Losses
from inv3d.core.generator import Generator
from inv3d.core.geometry.views import flipped, turned_camera
from inv3d.core.geometry.warp import resized_depth, warp_view
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.plugins.methods.spi.config import AroundOptions, SymmetricTuningOptions
from inv3d.plugins.methods.spi.mirror import mirror_image

_DRAWS = 1 << 24


def picture_losses(losses: Losses, name: str) -> Losses:
    """Return the losses that compare pictures alone.

    Raises:
        ConfigError: where there are none.
    """
    chosen = {
        key: one
        for key, one in losses.items()
        if tuple(one.loss.needs) == ("image",) and one.of == "image" and one.where is None
    }
    if not chosen:
        raise ConfigError(
            f"option 'tuning.around.losses': none of the losses ({', '.join(losses)}) compares "
            f"whole pictures, which {name} needs; name one, such as tuning.around.losses.l1=1, or "
            "set tuning.rotation=0 and tuning.mirror=0"
        )
    return chosen


def compare(losses: Losses, images: Tensor, targets: Tensor) -> Tensor:
    """Return the weighted losses of pictures [N, 3, H, W] against others, summed over them."""
    total = images.new_zeros(())
    for one in losses.values():
        with torch.no_grad():
            cache = one.loss.prepare(Target(targets))
        total = total + one.weight * one.loss(Rendering(image=images), cache).sum()
    return total


@dataclass
class Around:
    """The looks of a step besides that of the picture.

    Attributes:
        generator: that's tuned.
        ws: [1, num_ws, w_dim].
        capture: the picture, one view.
        losses: of warped pictures.
        options: of the tuning stage.
        weight: of the mirrored view, by the symmetry prior; 0 leaves it out.
        context: of the run.
        values: what the terms of the last step were.
    """

    generator: Generator
    ws: Tensor
    capture: Capture
    losses: Losses
    options: SymmetricTuningOptions
    weight: float
    context: Context
    values: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mirrored = mirror_image(self.capture)
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
        return compare(self.losses, images * seen, target * seen)

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
