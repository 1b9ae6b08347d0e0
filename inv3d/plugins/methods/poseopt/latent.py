"""The latent stage: latents and cameras of one picture change together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.errors import ConfigError
from inv3d.core.fit.backward import Look, latent_source
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Progress, Stage, Update
from inv3d.core.fit.objective import Losses, Objective, that_look
from inv3d.core.fit.schedule import Schedule, delayed, latent_noise, ramped
from inv3d.core.fit.stages import (
    changing_noise_maps,
    latent_terms,
    latent_variables,
    loss_terms,
    standardise,
    target_of,
    trainable,
)
from inv3d.core.generator import Generator
from inv3d.core.geometry.rotations import angle_between
from inv3d.core.latent import LatentStatistics
from inv3d.core.loss import WarpLoss
from inv3d.core.scene import Rendering
from inv3d.plugins.methods.poseopt.config import PoseOptConfig
from inv3d.plugins.methods.poseopt.pose import Pose

# share of the steps after which the camera should stand still
_LATE = 0.9


class Warp:
    """The head from the front, carried to cameras through what they see of its depth.

    Attributes:
        found: sum of the losses when they were last computed, without weights, by name.
    """

    def __init__(self, generator: Generator, capture: Capture, losses: Losses, count: int) -> None:
        self.generator = generator
        self.losses = losses
        self.front = generator.spec.camera.front().to(generator.device, generator.dtype)
        self.found: Metrics = {}
        target = target_of(generator, repeated(capture, count))
        with torch.no_grad():
            self.caches = {name: one.loss.prepare(target) for name, one in losses.items()}

    def look(
        self,
        ws: Tensor,
        camera: Camera,
        objective: Objective | None = None,
    ) -> Look:
        """Return a look of K cameras at the scenes of K latents; the front gets no gradient."""
        if not self.losses:
            return Look(camera, objective)
        with torch.no_grad():
            scene = self.generator.synthesize(ws.detach())
            front = self.front.repeat_interleave(len(ws))
            pictures = self.generator.render(scene, front).require("image")

        def joint(seen: Rendering, cameras: Camera) -> Tensor:
            return self._compare(seen.require("depth"), cameras, pictures)

        return Look(camera, objective, joint, outputs=("depth",))

    def _compare(self, depth: Tensor, camera: Camera, pictures: Tensor) -> Tensor:
        total = depth.new_zeros(())
        for name, one in self.losses.items():
            assert isinstance(one.loss, WarpLoss)
            cache = self.caches[name]
            value = one.loss.carried(camera, depth, pictures, self.front, cache).sum()
            self.found[name] = value.detach()
            total = total + one.weight * value
        return total


def warp_losses(config: PoseOptConfig, context: Context) -> Losses:
    """Return the losses of the warp; none where all are left out.

    Raises:
        ConfigError: where one compares no pictures of other views.
    """
    terms = config.warp.weighted
    losses = context.losses(terms) if terms else {}
    for name, one in losses.items():
        if not isinstance(one.loss, WarpLoss):
            raise ConfigError(
                f"option 'warp.losses': loss {name} compares no pictures of other views; name "
                "one that does, such as warping"
            )
    return losses


class PosedLatent:
    """K latents with a camera each, fitted to one picture.

    Attributes:
        w: [K, 1, w_dim] in W, [K, num_ws, w_dim] in W+.
        pose: the K cameras.
        late: [K, 25], the cameras' labels when a tenth of the steps was left.
    """

    def __init__(
        self,
        generator: Generator,
        capture: Capture,
        context: Context,
        config: PoseOptConfig,
        statistics: LatentStatistics,
        w: Tensor,
        pose: Pose,
    ) -> None:
        self.generator = generator
        self.context = context
        self.config = config
        self.statistics = statistics
        self.capture = repeated(capture, len(w))
        self.w = w
        self.pose = pose
        self.warp = Warp(generator, capture, warp_losses(config, context), len(w))
        self.late = pose.camera().labels().detach().clone()

    @property
    def ws(self) -> Tensor:
        """The latents, [K, num_ws, w_dim]."""
        return self.w.expand(-1, self.generator.spec.num_ws, -1)

    @property
    def camera(self) -> Camera:
        """The cameras as they are, without a graph."""
        with torch.no_grad():
            return self.pose.camera()

    def moved(self) -> Tensor:
        """Return how far the cameras turned in the last tenth of the steps, [K] radians."""
        return angle_between(Camera.from_labels(self.late).rotation, self.camera.rotation)

    def run(self, name: str, steps: int, warmup: int, *, noise: bool) -> Iterator[Progress]:
        """Run a stage.

        Args:
            name: of the stage.
            steps: its length.
            warmup: first steps, in which the cameras change alone.
            noise: whether to add noise to the latents, and to optimise noise maps.
        """
        options = self.config.latent
        weight = options.noise_maps if noise else 0.0
        maps = changing_noise_maps(self.generator, self.context, weight)
        variables = latent_variables(self.w, maps)
        warmup = min(warmup, steps)
        left = max(1, steps - warmup)
        ramp = ramped(options.lr, left, rampup=options.rampup, rampdown=options.rampdown)
        latent = Group(variables, _from_0(delayed(ramp, warmup)), begin=warmup)
        updates = self._updates(self._objective(maps), steps, warmup, noise=noise)
        groups = {"latent": latent, **self.pose.groups()}
        with trainable(variables | self.pose.variables()):
            yield from self.context.run(
                Stage(
                    name=name,
                    table="latent",
                    steps=steps,
                    groups=groups,
                    updates=updates,
                    buffers={"late": self.late},
                    keep=options.keep,
                    after=(lambda: standardise(maps)) if maps else None,
                )
            )

    def _objective(self, maps: Mapping[str, Tensor]) -> Objective:
        options = self.config.latent
        terms = loss_terms(self.generator, self.config, options.losses)
        anchor = self.statistics.mean[None]
        target = target_of(self.generator, self.capture, anchor=anchor, noise=maps)
        return self.context.objective(latent_terms(options, terms, noise=bool(maps)), target)

    def _updates(
        self, objective: Objective, steps: int, warmup: int, *, noise: bool
    ) -> dict[str, Update]:
        options = self.config.latent
        spread = options.noise * self.statistics.spread if noise else 0.0
        schedule = latent_noise(spread, max(1, steps - warmup), length=options.noise_length)
        deviation = delayed(schedule, warmup)
        late = int(_LATE * steps)

        def latents(step: int) -> Tensor:
            scale = deviation(step) if step >= warmup else 0.0
            if not scale:
                return self.ws
            noisy = self.w + scale * self.context.randn(self.w.shape, like=self.w)
            return noisy.expand(-1, self.generator.spec.num_ws, -1)

        def joint(step: int) -> Metrics:
            camera = self._at(step, late)
            ws = latents(step)
            look = self.warp.look(ws, camera, objective)
            source = latent_source(self.generator, ws, latent=self.ws)
            return self.context.backward(self.generator, source, look) | self.warp.found

        def fit(step: int) -> Metrics:
            with torch.no_grad():
                camera = self.pose.camera()
            source = latent_source(self.generator, latents(step), latent=self.ws)
            return self.context.backward(self.generator, source, Look(camera, objective))

        def follow(step: int) -> Metrics:
            ws = self.ws.detach()
            look = self.warp.look(ws, self._at(step, late))
            return self.context.backward(self.generator, ws, look) | self.warp.found

        if options.update == "joint":
            return {"fit": Update(joint)}
        poses = tuple(self.pose.groups())
        return {
            "fit": Update(fit, groups=("latent",), first=warmup),
            "follow": Update(follow, groups=poses),
        }

    def _at(self, step: int, late: int) -> Camera:
        """Return the cameras, and remember where they are shortly before the end."""
        camera = self.pose.camera()
        if step <= late:
            self.late.copy_(camera.labels().detach())
        return camera

    @torch.no_grad()
    def scores(self) -> Tensor:
        """Return the weighted losses of every start without the warp, [K]."""
        options = self.config.latent
        terms = loss_terms(self.generator, self.config, options.losses)
        target = target_of(self.generator, self.capture)
        objective = Objective(that_look(self.context.losses(terms)), target)
        rendering = self.generator.render(
            self.generator.synthesize(self.ws), self.camera, outputs=objective.outputs
        )
        return by_view(objective, rendering, slice(0, len(self.w)))


@torch.no_grad()
def by_view(objective: Objective, rendering: Rendering, views: slice) -> Tensor:
    """Return the weighted sum of an objective's losses of each of some views."""
    values = [term.weight * term(rendering, views) for term in objective.terms.values()]
    return torch.stack(values).sum(0)


def repeated(capture: Capture, count: int) -> Capture:
    """Return a capture of one picture as one of `count` alike."""
    return capture[[0] * count]


def _from_0(rate: Schedule) -> Schedule:
    """Return a rate that is 0 where another is below it."""
    return lambda step: max(0.0, rate(step))
