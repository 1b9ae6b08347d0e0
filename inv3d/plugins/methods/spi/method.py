"""The method: a latent for both sides, then the tuning with views around both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics, Progress
from inv3d.core.fit.objective import Objective
from inv3d.core.fit.stages import prepare, target_of, tune
from inv3d.core.generator import Generator
from inv3d.core.geometry.views import flipped, turned_camera
from inv3d.core.inversion import Snapshot
from inv3d.core.inverter import Diagnostic, Inverter, Steps
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.spi.around import Around, warped_picture
from inv3d.plugins.methods.spi.config import PRESETS, WHO, AroundOptions, SPIConfig
from inv3d.plugins.methods.spi.latent import MirroredLatent
from inv3d.plugins.methods.spi.losses import TuningLosses
from inv3d.plugins.methods.spi.mirror import mirror_image, mirror_weight


class SPI(Inverter[SPIConfig]):
    """Inversion of one picture with the symmetry of heads as a prior."""

    name = "spi"
    summary = "one picture and its mirror image, for heads are nearly symmetric"
    licence = "Apache-2.0"
    reference = "Yin et al., 3D GAN Inversion with Facial Symmetry Prior, CVPR 2023"
    default_views = 1
    takes_init = True
    Config = SPIConfig
    presets: ClassVar[Presets] = PRESETS
    shown: Sequence[Diagnostic] = ()

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front."""
        return [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Optimise the latent, then tune the generator in place."""
        options = self.config.tuning
        if options.steps and (options.rotation or options.mirror or options.depth):
            generator.require(("image", "depth"), WHO)
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        view = prepare(generator, fitted, context)
        snapshot = Snapshot(generator)
        prior = self.config.prior
        weight = float(mirror_weight(view.camera, deviation=prior.deviation, front=prior.front))
        losses = TuningLosses.of(self.config, generator, context) if options.steps else None
        latent = MirroredLatent(generator, view, context, self.config, weight)
        yield from latent.run()
        if losses is not None:
            around = Around(generator, latent.w, view, losses, options, weight, context)
            yield from _tune(around, losses)
        snapshot.settle()
        self.shown = _shown(generator, latent.w, view, weight, options.around)
        return self.inversion(generator, context, latent.w, view.camera, snapshot)

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return the picture and its mirror image, warped to views around them."""
        return self.shown


def _tune(around: Around, losses: TuningLosses) -> Iterator[Progress]:
    """Run the tuning stage; every few steps the views around the picture are looked at, too."""
    generator, context, options = around.generator, around.context, around.options
    target = target_of(generator, around.capture)
    look = Look(around.capture.camera, Objective(losses.picture, target))

    def update(step: int) -> Metrics:
        if step % options.every:
            return context.backward(generator, around.ws, look)
        sums = context.backward(generator, around.ws, look, *around.looks())
        return sums | around.metrics()

    yield from tune(generator, context, options, {"fit": update}, stop=losses.stop)


@torch.no_grad()
def _shown(
    generator: Generator,
    ws: Tensor,
    view: Capture,
    weight: float,
    options: AroundOptions,
) -> list[Diagnostic]:
    """Show what the tuning was told of the sides: warped pictures, where they count."""
    if "depth" not in generator.spec.outputs:
        return []
    scene = generator.synthesize(ws)
    source = generator.render(scene, view.camera, outputs=("depth",)).require("depth")
    yaw = options.yaw * torch.tensor([-1.0, 1.0]).to(view.camera.cam2world)
    parts = {"Picture": (view, source)}
    if weight:
        parts["Mirror image"] = (mirror_image(view), flipped(source))
    shown = []
    for title, (picture, depth) in parts.items():
        cameras = turned_camera(picture.camera, yaw, torch.zeros_like(yaw))
        seen = generator.render(scene, cameras, outputs=("depth",)).require("depth")
        warped, where = warped_picture(picture, depth, cameras, seen, options)
        images = torch.cat([picture.images, warped * where, 2 * where.expand(-1, 3, -1, -1) - 1])
        texts = [f"yaw {float(angle.rad2deg()):+.0f} deg" for angle in cameras.yaw]
        labels = [title.lower(), *texts, *(f"{text}, where it counts" for text in texts)]
        shown.append(Diagnostic(f"{title}, warped", images.cpu(), labels))
    return shown
