"""The latent stage: the picture from its camera, its mirror image from the mirrored one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.fit.backward import Look, latent_source
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics, Progress, Stage, Update
from inv3d.core.fit.objective import Objective, that_look
from inv3d.core.fit.schedule import latent_noise
from inv3d.core.fit.stages import (
    changing_noise_maps,
    latent_group,
    latent_terms,
    latent_variables,
    loss_terms,
    searches,
    standardise,
    start_latent,
    target_of,
    trainable,
)
from inv3d.core.generator import Generator
from inv3d.core.latent import latent_statistics
from inv3d.plugins.methods.spi.config import SPIConfig
from inv3d.plugins.methods.spi.mirror import mirror_image

MIRROR = "mirror"


class MirroredLatent:
    """One W+ latent fitted to a picture and its mirror image.

    Attributes:
        w: [1, num_ws, w_dim].
    """

    def __init__(
        self,
        generator: Generator,
        capture: Capture,
        context: Context,
        config: SPIConfig,
        weight: float,
    ) -> None:
        self.generator = generator
        self.capture = capture
        self.context = context
        self.config = config
        self.weight = weight * config.latent.mirror
        sees = generator.spec.condition == "camera"
        condition = capture.camera if sees else None
        self.statistics = latent_statistics(generator, config.latent.samples, condition=condition)
        self.w = self._start()

    def _start(self) -> Tensor:
        """The latent of --init, or the mean of W in every layer."""
        tuned = self.config.init_tuned
        start = start_latent(self.generator, self.context, tuned=tuned, camera=self.capture.camera)
        if start is None:
            start = self.statistics.mean.expand(1, self.generator.spec.num_ws, -1)
        return start.clone()

    def run(self) -> Iterator[Progress]:
        """Run the stage."""
        options = self.config.latent
        maps = changing_noise_maps(self.generator, self.context, options.noise_maps)
        looks = self._looks(maps)
        spread = 0.0 if searches(options) else self.statistics.spread
        deviation = latent_noise(options.noise * spread, options.steps, length=options.noise_length)
        variables = latent_variables(self.w, maps)

        def update(step: int) -> Metrics:
            ws, scale = self.w, deviation(step)
            if scale:
                ws = ws + scale * self.context.randn(ws.shape, like=ws)
            source = latent_source(self.generator, ws, latent=self.w)
            return self.context.backward(self.generator, source, *looks)

        with trainable(variables):
            yield from self.context.run(
                Stage(
                    name="latent",
                    steps=options.steps,
                    groups={"latent": latent_group(variables, options)},
                    updates={"fit": Update(update, still=searches(options))},
                    keep=options.keep,
                    after=(lambda: standardise(maps)) if maps else None,
                )
            )

    def _looks(self, maps: Mapping[str, Tensor]) -> list[Look]:
        options = self.config.latent
        terms = loss_terms(self.generator, self.config, options.losses)
        target = target_of(
            self.generator, self.capture, anchor=self.statistics.mean[None], noise=maps
        )
        looks = [
            Look(self.capture.camera, self.context.objective(latent_terms(options, terms), target))
        ]
        if self.weight:
            other = mirror_image(self.capture)
            losses = that_look(self.context.losses(terms))
            objective = Objective(losses, target_of(self.generator, other))
            looks.append(Look(other.camera, objective, weight=self.weight, name=MIRROR))
        return looks
