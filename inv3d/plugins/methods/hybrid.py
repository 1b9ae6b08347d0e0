"""An encoder's latent, then a few steps of optimisation and tuning from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.errors import ConfigError
from inv3d.core.fit.context import Context
from inv3d.core.fit.single_latent import SingleLatent
from inv3d.core.generator import Generator
from inv3d.core.inverter import Inverter, Steps, load_method
from inv3d.plugins.methods.options import HybridConfig


class Hybrid(Inverter[HybridConfig]):
    """Pivotal tuning from where an encoder's latent lies, in at most 100 steps."""

    name = "hybrid"
    summary = "an encoder's latent, refined and tuned in at most 100 steps"
    licence = "Apache-2.0"
    reference = "Multi-view Inversion for 3D-aware GANs, future work; Roich et al., pivotal tuning"
    default_views: ClassVar[int] = 1
    takes_init: ClassVar[bool] = True
    Config = HybridConfig

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front, or all."""
        return range(count) if self.config.views == "all" else [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Encode, optimise the latent, tune the generator in place."""
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        if context.init is None:
            found = yield from self._encoded(generator, fitted, context)
            context = replace(context, init=found)
        fit = SingleLatent(generator, fitted, context, self.config)
        yield from fit.optimise_latent()
        yield from fit.tune(self.config.tuning)
        return self.inversion(generator, context, fit.ws, fit.camera, fit.snapshot)

    def _encoded(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Take what the encoder makes of the same views."""
        name = self.config.encoder
        encoder = load_method(name, self.config.encoder_options, generator)
        if not encoder.instant:
            raise ConfigError(
                f"option 'encoder': method {name} takes steps of its own; name an encoder such as "
                f"e4e, or run {name} first and give its directory as --init"
            )
        found = yield from encoder.steps(generator, capture, context.within("encoder"))
        return found
