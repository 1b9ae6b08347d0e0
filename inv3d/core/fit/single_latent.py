"""One latent fitted to N views: W and W+ optimisation, pivotal tuning, multi-view inversion.

They are one fit with other views and options.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.fit.backward import Look, latent_source
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Progress, Run, Stage, Stop, Update
from inv3d.core.fit.moving import MovingCameras
from inv3d.core.fit.objective import Losses, Objective
from inv3d.core.fit.options import CameraOptions, PivotalOptions, SingleLatentConfig
from inv3d.core.fit.schedule import latent_noise, ramped
from inv3d.core.fit.stages import (
    changing_noise_maps,
    latent_group,
    latent_terms,
    latent_variables,
    looks_in_turn,
    loss_terms,
    prepare,
    searches,
    standardise,
    start_latent,
    stop_below,
    trainable,
    tune,
)
from inv3d.core.fit.turns import Turns
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.geometry.rotations import angle_between
from inv3d.core.inversion import Snapshot
from inv3d.core.latent import latent_statistics
from inv3d.core.loss import Target
from inv3d.core.scene import OutputName

# a camera that is corrected by more may be that of another picture
_FAR_DEG = 10.0


class SingleLatent:
    """One latent fitted to N views, and the generator tuned around it.

    Construct it, run `optimise_latent` and, for pivotal tuning, `tune`; then `ws`, `camera` and
    `snapshot` are the result. Between the two `correct_cameras` changes the cameras, which are
    then in `corrected`, image name -> label [25]. An offset, part name -> [1, ...], is added to
    every scene and stays as it is.
    """

    def __init__(
        self,
        generator: Generator,
        capture: Capture,
        context: Context,
        config: SingleLatentConfig,
        offset: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.capture = prepare(generator, capture, context)
        self.offset = dict(offset or {})
        self.generator = generator
        self.context = context
        self.config = config
        self.snapshot = Snapshot(generator)
        self.statistics = latent_statistics(generator, config.latent.samples)
        self.w = self._start()
        self.corrected: dict[str, Tensor] = {}

    def _start(self) -> Tensor:
        """The latent that changes: [1, w_dim] in W, [num_ws, w_dim] in W+."""
        spec = self.generator.spec
        start = start_latent(self.generator, self.context, tuned=self.config.init_tuned)
        ws = self.statistics.mean.expand(spec.num_ws, -1) if start is None else start[0]
        return (ws if self.config.latent.space == "w+" else ws.mean(0, keepdim=True)).clone()

    @property
    def ws(self) -> Tensor:
        """The latent, [1, num_ws, w_dim]."""
        return self._rows(self.w[None])

    @property
    def camera(self) -> Camera:
        """The camera that the latent belongs to: the one nearest to the front."""
        return self.capture.camera[self.capture.front()]

    def _rows(self, w: Tensor) -> Tensor:
        return w.expand(-1, self.generator.spec.num_ws, -1)

    def optimise_latent(self) -> Iterator[Progress]:
        """Run the latent stage (multi-view inversion paper, section 3.1)."""
        options = self.config.latent
        maps = changing_noise_maps(self.generator, self.context, options.noise_maps)
        terms = loss_terms(self.generator, self.config, options.losses)
        losses = self.context.losses(latent_terms(options, terms))
        still = searches(options)
        turns = self._turns(None if still else self.config.views_per_step)
        anchor = self.statistics.mean[None]
        looks = looks_in_turn(
            self.generator, self.capture, losses, turns, anchor=anchor, noise=maps
        )
        variables = latent_variables(self.w, maps)
        with trainable(variables):
            yield from self.context.run(
                Stage(
                    name="latent",
                    steps=options.steps,
                    groups={"latent": latent_group(variables, options)},
                    updates={"fit": Update(self._fit(looks), still=still)},
                    keep=options.keep,
                    round=turns.round,
                    after=(lambda: standardise(maps)) if maps else None,
                )
            )
        self.snapshot.settle()

    def _turns(self, views: int | None) -> Turns:
        return Turns.by_angle(self.capture.camera, views)

    def _fit(self, looks: Sequence[Look]) -> Run:
        options = self.config.latent
        spread = 0.0 if searches(options) else self.statistics.spread
        scale = latent_noise(options.noise * spread, options.steps, length=options.noise_length)
        draws = len(looks[0].camera) if options.noise_per_view else 1

        def update(step: int) -> Metrics:
            ws, deviation, look = self.ws, scale(step), looks[step % len(looks)]
            if deviation == 0:
                return self._backward(ws, look)
            noise = self.context.randn((draws, *self.w.shape), like=self.w)
            return self._backward(self._rows(self.w + deviation * noise), look, ws)

        return update

    def _backward(self, ws: Tensor, look: Look, latent: Tensor | None = None) -> Metrics:
        latent = None if latent is None else latent.expand(len(ws), -1, -1)
        source = latent_source(self.generator, ws, offset=self.offset, latent=latent)
        return self.context.backward(self.generator, source, look)

    def correct_cameras(self, options: CameraOptions) -> Iterator[Progress]:
        """Run the stage in which cameras and latent change together; nothing if it has no steps."""
        if not options.steps:
            return
        terms = loss_terms(self.generator, self.config, self.config.latent.losses)
        losses = self.context.losses(latent_terms(self.config.latent, terms, noise=False))
        turns = self._turns(self.config.views_per_step)
        anchor = self.statistics.mean[None]
        looks = looks_in_turn(self.generator, self.capture, losses, turns, anchor=anchor)
        moving = MovingCameras(self.capture.camera)

        def update(step: int) -> Metrics:
            camera = moving.camera()[turns.at(step)]
            return self._backward(self.ws, replace(looks[step % len(looks)], camera=camera))

        with trainable({"w": self.w} | moving.variables()):
            yield from self.context.run(
                Stage(
                    name="cameras",
                    steps=options.steps,
                    groups={
                        "latent": Group({"w": self.w}, ramped(options.latent_lr, options.steps)),
                        "cameras": Group(moving.variables(), ramped(options.lr, options.steps)),
                    },
                    updates={"fit": update},
                    round=turns.round,
                )
            )
        self.capture = self.capture.with_cameras(moving.camera())
        self.corrected = dict(zip(self.capture.names, self.capture.camera.labels(), strict=True))
        turned = angle_between(moving.given.rotation, self.capture.camera.rotation).rad2deg()
        if float(turned.max()) > _FAR_DEG:
            self.context.notice(
                f"the camera of {self.capture.names[int(turned.argmax())]} was turned by "
                f"{float(turned.max()):.0f} degrees; look whether it's the one of this picture"
            )

    def check_tuning(self, options: PivotalOptions) -> None:
        """Refuse wrong options of the tuning before anything is fitted.

        Raises:
            ConfigError: where it has no losses, or watches one that it doesn't have.
        """
        if options.steps:
            self._tuned_by(options)

    def _tuned_by(self, options: PivotalOptions) -> tuple[Losses, Stop | None]:
        """Return the losses of the tuning stage, and the test whether it's done."""
        losses = self.context.losses(loss_terms(self.generator, self.config, options.losses))
        views = len(self.capture)
        limit = None if options.threshold is None else options.threshold * views
        option = self.context.option("tuning.threshold_loss")
        return losses, stop_below(limit, losses, [options.threshold_loss], option)

    def tune(self, options: PivotalOptions) -> Iterator[Progress]:
        """Run the tuning stage around the latent (pivotal tuning); nothing where it has no steps.

        Raises:
            ConfigError: see `check_tuning`.
        """
        if not options.steps:
            return
        losses, stop = self._tuned_by(options)
        turns = self._turns(self.config.views_per_step)
        looks = looks_in_turn(self.generator, self.capture, losses, turns)
        near = Locality(self.generator, self.ws, self.camera, losses, options, self.context)

        def update(step: int) -> Metrics:
            return self._backward(self.ws, looks[step % len(looks)]) | near.backward()

        updates = {"fit": update}
        yield from tune(
            self.generator, self.context, options, updates, stop=stop, round=turns.round
        )
        self.snapshot.settle()


def locality_point(pivot: Tensor, towards: Tensor, distance: float) -> Tensor:
    """Return the points at a distance from the pivot towards other latents.

    Args:
        pivot: [1, num_ws, w_dim].
        towards: [B, num_ws, w_dim].
        distance: norm over num_ws * w_dim.
    """
    difference = towards - pivot
    norm = torch.linalg.vector_norm(difference.flatten(1), dim=1)[:, None, None]
    point: Tensor = pivot + distance * difference / norm
    return point


class Locality:
    """PTI's regulariser: near the pivot the tuned generator stays the original one."""

    def __init__(
        self,
        generator: Generator,
        pivot: Tensor,
        camera: Camera,
        losses: Losses,
        options: PivotalOptions,
        context: Context,
    ) -> None:
        self.generator = generator
        self.pivot = pivot.detach().clone()
        self.camera = camera
        self.options = options
        self.context = context
        self.losses = {name: one.times(options.locality) for name, one in losses.items()}
        self.original: Generator | None = None
        if options.locality:
            self.original = copy.deepcopy(generator)
            self.original.rng = generator.rng

    def backward(self) -> Metrics:
        """Add the gradient at one random point and return its loss; nothing where it's off."""
        if self.original is None:
            return {}
        with torch.no_grad():
            z = self.context.randn((1, self.generator.spec.z_dim), like=self.pivot)
            sees = self.original.spec.condition == "camera"
            condition = self.camera if sees else neutral_condition(self.original)
            towards = self.original.map(z, condition, self.options.locality_truncation)
            ws = locality_point(self.pivot, towards, self.options.locality_distance)
            outputs: list[OutputName] = ["image"]
            if any("depth" in one.needs for one in self.losses.values()):
                outputs.append("depth")
            scene = self.original.synthesize(ws)
            seen = self.original.render(scene, self.camera, outputs=outputs)
            rays, images = self.generator.spec.render_resolution, seen.require("image")
            # whole pictures, also for losses that look within masks
            masks = torch.ones_like(images[:, :1])
            target = Target(images, masks, seen.depth, rays=rays)
        look = Look(self.camera, Objective(self.losses, target))
        sums = self.context.backward(self.generator, ws, look)
        return {"locality": sums["total"]}
