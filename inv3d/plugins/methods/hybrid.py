"""What an encoder makes, then a few steps of optimisation and tuning from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.errors import ConfigError, UnsupportedError
from inv3d.core.fit.backward import Look, Source
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Progress, Stage, Update
from inv3d.core.fit.optimizers import lbfgs
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.single_latent import SingleLatent
from inv3d.core.fit.stages import loss_terms, target_of, trainable
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import Inverter, Steps, load_method
from inv3d.core.scene import Scene
from inv3d.plugins.methods.options import HybridConfig

PLANES = "planes"


class Hybrid(Inverter[HybridConfig]):
    """Pivotal tuning from where an encoder's latent lies, in at most 100 steps."""

    name = "hybrid"
    summary = "an encoder's latent, refined and tuned in at most 100 steps"
    licence = "Apache-2.0"
    reference = (
        "Multi-view Inversion for 3D-aware GANs, future work; Bhattarai et al., TriPlaneNet, "
        "section 4.3; Roich et al., pivotal tuning"
    )
    default_views: ClassVar[int] = 1
    takes_init: ClassVar[bool] = True
    Config = HybridConfig

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front, or all."""
        return range(count) if self.config.views == "all" else [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Encode, optimise the latent and the offset, tune the generator in place."""
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        if context.init is None:
            found = yield from self._encoded(generator, fitted, context)
            context = replace(context, init=found)
        assert context.init is not None
        begun = context.init
        plain = replace(context, init=replace(begun, offset={}))
        offset = _offset(begun, generator, context)
        fit = SingleLatent(generator, fitted, plain, self.config, offset)
        fit.check_tuning(self.config.tuning)
        yield from fit.optimise_latent()
        if self.config.offset.steps:
            yield from self._refine(fit)
        yield from fit.tune(self.config.tuning)
        return self.inversion(
            generator, context, fit.ws, fit.camera, fit.snapshot, offset=fit.offset
        )

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

    def _refine(self, fit: SingleLatent) -> Iterator[Progress]:
        """Optimise the offset of the planes, from the encoder's own where it makes one."""
        options, generator, context = self.config.offset, fit.generator, fit.context
        scene = _scene(fit)
        begun = fit.offset.get(PLANES)
        planes = torch.zeros_like(scene.parts[PLANES]) if begun is None else begun.clone()
        terms = loss_terms(generator, self.config, options.losses)
        target = target_of(generator, fit.capture)
        look = Look(fit.capture.camera, context.objective(terms, target))

        def shifted(rows: slice, inputs: Mapping[str, Tensor]) -> Scene:
            return scene + inputs

        def update(step: int) -> Metrics:
            source = Source(shifted, 1, {PLANES: planes}, fit.ws)
            return context.backward(generator, source, look)

        group = Group({PLANES: planes}, constant(1.0), optimizer=lbfgs(history=options.history))
        updates = {"fit": Update(update, still=True)}
        with trainable({PLANES: planes}):
            yield from context.run(Stage("offset", options.steps, {PLANES: group}, updates))
        fit.offset[PLANES] = planes.detach()


def _offset(begun: Inversion, generator: Generator, context: Context) -> Mapping[str, Tensor]:
    """Return the offset that a result brings, if it has a single latent."""
    if len(begun.ws) > 1:
        if begun.offset:
            context.notice(
                f"{begun.method} has an offset for each of {len(begun.ws)} latents, and they "
                "aren't used, since one latent is fitted"
            )
        return {}
    return {n: p.to(generator.device, generator.dtype) for n, p in begun.offset.items()}


@torch.no_grad()
def _scene(fit: SingleLatent) -> Scene:
    """Return the scene of the latent without an offset of its planes; it doesn't change with that.

    Raises:
        UnsupportedError: where the generator's scenes have no planes.
    """
    scene = fit.generator.synthesize(fit.ws)
    if PLANES not in scene.parts:
        raise UnsupportedError(
            f"option 'offset.steps': scenes of generator {fit.generator.spec.name} have "
            f"{', '.join(scene.parts)}, but no planes; set it to 0"
        )
    return scene + {name: part for name, part in fit.offset.items() if name != PLANES}
