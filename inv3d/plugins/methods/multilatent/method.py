"""The method: start latent, latent stage, tuning stage."""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, is_circle
from inv3d.core.config import merge
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress, Stage
from inv3d.core.fit.options import LatentOptions, TuningOptions
from inv3d.core.fit.stages import (
    latent_group,
    loss_terms,
    prepare,
    searches,
    start_latent,
    trainable,
    tune,
)
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.inversion import Blend, Inversion, Snapshot
from inv3d.core.inverter import Inverter, Steps, load_method
from inv3d.core.latent import latent_statistics
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.multilatent.config import PRESETS, START, MultiLatentConfig
from inv3d.plugins.methods.multilatent.regularisers import Regularisers
from inv3d.plugins.methods.multilatent.views import arrange, used

DISTANCE = "w_dist"
MEAN = "mean"


class MultiLatent(Inverter[MultiLatentConfig]):
    """A latent for every target camera, kept close and consistent, and one tuned generator."""

    name = "multilatent"
    summary = "a latent for every camera, interpolated by angle, and one tuned generator"
    licence = "Apache-2.0"
    reference = "Multi-view Inversion for 3D-aware GANs, section 3.2, eq. 5 and 6"
    min_views = 2
    takes_init = True
    Config = MultiLatentConfig
    presets: ClassVar[Presets] = PRESETS

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the views that have a latent or lie between two; all unless `latents` is set."""
        if cameras is None:
            return range(count)
        config = self.config
        return used(cameras, latents=config.latents, interpolation=config.interpolation > 0)

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Find the start latent, optimise all latents, then tune the generator in place."""
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        fit = _ManyLatents(generator, fitted, context, self.config)
        yield from fit.start()
        yield from fit.optimise_latents()
        yield from fit.tune()
        camera, more = fit.targets.camera, {"blend": fit.blend(), "poses": fit.poses}
        return self.inversion(generator, context, fit.w, camera, fit.snapshot, **more)


class _ManyLatents:
    """The fit while it runs.

    Attributes:
        given: all views that are fitted.
        targets: M views that have a latent.
        between: the views between them, or none.
        w: [M, num_ws, w_dim].
        poses: image name -> label [25], of cameras that the start method found or corrected.
    """

    def __init__(
        self, generator: Generator, capture: Capture, context: Context, config: MultiLatentConfig
    ) -> None:
        latents, between = arrange(
            capture, latents=config.latents, interpolation=config.interpolation > 0
        )
        self.given = capture
        self.targets = prepare(generator, capture[latents], context)
        self.between = prepare(generator, capture[between], context) if between else None
        self.generator = generator
        self.context = context
        self.config = config
        self.snapshot = Snapshot(generator)
        self.w = torch.empty(0)
        self.poses: dict[str, Tensor] = {}

    def start(self) -> Iterator[Progress]:
        """Set every latent to the start latent: of --init, of the start method, or the mean."""
        tuned = self.config.init_tuned
        start = start_latent(self.generator, self.context, tuned=tuned, camera=self.targets.camera)
        if start is None and self.config.start_from == MEAN:
            start = latent_statistics(self.generator).mean.expand(self.generator.spec.num_ws, -1)
        if start is None:
            start = yield from self._run_start_method()
        self.w = start.expand(len(self.targets), -1, -1).clone()

    def _run_start_method(self) -> Iteration[Progress, None, Tensor]:
        """Run the start method; latent and cameras are taken, the generator starts untuned."""
        name = self.config.start_from
        options = dict(START.get(name, {}))
        if options:
            shared = self.config.model_dump(include={"losses", "default_losses"})
            options = merge(options, shared)
        method = load_method(name, merge(options, self.config.start), self.generator)
        context = self.context.within("start")
        found = yield from method.steps(self.generator, self.given, context)
        self.snapshot.restore()
        self.poses = dict(found.poses)
        self.targets = _with_poses(self.targets, found)
        self.between = self.between and _with_poses(self.between, found)
        ws = found.ws_for(self.targets.camera.to("cpu"))
        return ws.to(self.context.device, self.generator.dtype)

    def optimise_latents(self) -> Iterator[Progress]:
        """Run the latent stage: fit, depth and interpolation, each an optimiser step."""
        config, options = self.config, self.config.latent
        scale = self.w[0].numel() if config.distance_form == "sum" else 1
        distance = {DISTANCE: LossTerm(weight=config.distance * scale)} if config.distance else {}
        parts = self._regularisers(options, distance, together=searches(options))
        with trainable({"w": self.w}) as variables:
            yield from self.context.run(
                Stage(
                    name="latent",
                    steps=options.steps,
                    groups={"latents": latent_group(variables, options)},
                    updates=parts.updates(),
                    buffers=parts.buffers(),
                    keep=options.keep,
                    round=parts.turns.round,
                )
            )

    def tune(self) -> Iterator[Progress]:
        """Run the tuning stage: the same three steps on the generator, without the distance."""
        options = self.config.tuning
        parts = self._regularisers(options, {})
        yield from tune(
            self.generator,
            self.context,
            options,
            parts.updates(),
            buffers=parts.buffers(),
            round=parts.turns.round,
        )
        self.snapshot.settle()

    def _regularisers(
        self,
        options: LatentOptions | TuningOptions,
        distance: dict[str, LossTerm],
        *,
        together: bool = False,
    ) -> Regularisers:
        terms = loss_terms(self.generator, self.config, options.losses)
        return Regularisers(
            self.generator,
            self.w,
            self.targets,
            self.between,
            self.context.losses(terms),
            self.context.losses(distance) if distance else {},
            self.config,
            self.context,
            together=together,
        )

    def blend(self) -> Blend:
        """How latents are interpolated: around where the generator or the capture goes around."""
        if self.config.blend != "auto":
            return self.config.blend
        around = self.generator.spec.camera.all_around or is_circle(self.given.camera.yaw)
        return "turn" if around else "yaw"


def _with_poses(views: Capture, found: Inversion) -> Capture:
    """Return views with the cameras that were found for them, the others as they are."""
    given = zip(views.names, views.camera.labels(), strict=True)
    labels = [found.poses.get(name, label).to(label) for name, label in given]
    return views.with_cameras(Camera.from_labels(torch.stack(labels)))
