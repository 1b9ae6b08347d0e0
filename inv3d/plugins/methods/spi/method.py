"""The method: a latent for both sides, then the tuning with views around both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.errors import ConfigError
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics, Progress, Stop
from inv3d.core.fit.objective import Losses, Objective
from inv3d.core.fit.stages import loss_terms, prepare, target_of, tune
from inv3d.core.generator import Generator
from inv3d.core.geometry.views import flipped, turned_camera
from inv3d.core.inversion import Snapshot
from inv3d.core.inverter import Diagnostic, Inverter, Steps
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.spi.around import Around, picture_losses, warped_picture
from inv3d.plugins.methods.spi.config import (
    PRESETS,
    AroundOptions,
    SPIConfig,
    SymmetricTuningOptions,
)
from inv3d.plugins.methods.spi.latent import MirroredLatent
from inv3d.plugins.methods.spi.mirror import mirror_image, mirror_weight

WHO = "method spi"


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
        if options.rotation or options.mirror or options.depth:
            generator.require(("image", "depth"), WHO)
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        view = prepare(generator, fitted, context)
        snapshot = Snapshot(generator)
        prior = self.config.prior
        weight = float(mirror_weight(view.camera, deviation=prior.deviation, front=prior.front))
        latent = MirroredLatent(generator, view, context, self.config, weight)
        yield from latent.run()
        yield from self._tune(generator, view, context, latent.w, weight)
        snapshot.settle()
        self.shown = _shown(generator, latent.w, view, weight, options.around)
        return self.inversion(generator, context, latent.w, view.camera, snapshot)

    def _tune(
        self, generator: Generator, view: Capture, context: Context, ws: Tensor, weight: float
    ) -> Iterator[Progress]:
        options = self.config.tuning
        losses = context.losses(loss_terms(generator, self.config, options.losses))
        look = Look(view.camera, Objective(losses, target_of(generator, view)))
        nearby: Losses = {}
        if options.rotation or options.mirror:
            around_losses = options.around.losses
            nearby = context.losses(around_losses) if around_losses else losses
            nearby = picture_losses(nearby, WHO)
        around = Around(generator, ws, view, nearby, options, weight, context)

        def update(step: int) -> Metrics:
            if step % options.every:
                return context.backward(generator, ws, look)
            sums = context.backward(generator, ws, look, *around.looks())
            return sums | around.metrics()

        stop = stopping(options, losses)
        yield from tune(generator, context, options, {"fit": update}, stop=stop)

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return the picture and its mirror image, warped to views around them."""
        return self.shown


def stopping(options: SymmetricTuningOptions, losses: Losses) -> Stop | None:
    """Return the test whether the picture is close enough, or None where there's none.

    Raises:
        ConfigError: where the loss that it watches isn't one of the stage.
    """
    name, limit = options.threshold_loss, options.threshold
    if limit is None:
        return None
    if name not in losses:
        raise ConfigError(
            f"option 'tuning.threshold_loss': '{name}' isn't one of the losses of this stage "
            f"({', '.join(losses)}); name one of them, or set tuning.threshold to null"
        )
    return lambda values: values[name] <= limit


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
