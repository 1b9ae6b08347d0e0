"""The method: find poses to begin with, fit camera and latent together, tune the generator."""

from __future__ import annotations

from collections.abc import Generator as Iteration
from collections.abc import Iterator, Sequence
from typing import ClassVar

from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.errors import InputError
from inv3d.core.estimator import AnyEstimator
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress, Stop
from inv3d.core.fit.objective import Losses, Objective
from inv3d.core.fit.stages import (
    loss_terms,
    prepare,
    start_latent,
    stop_below,
    target_of,
    tune,
)
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.inversion import Snapshot
from inv3d.core.inverter import AnyInverter, Diagnostic, Inverter, Need, Steps, load_inner_method
from inv3d.core.latent import latent_statistics
from inv3d.core.plugin import Presets
from inv3d.plugins.methods.poseopt.config import PRESETS, PoseOptConfig, SmoothTuningOptions
from inv3d.plugins.methods.poseopt.doubts import Doubts, of_the_capture
from inv3d.plugins.methods.poseopt.latent import PosedLatent, warp_losses
from inv3d.plugins.methods.poseopt.pose import Network, Numbers, Pose
from inv3d.plugins.methods.poseopt.show import shown_fit, shown_starts
from inv3d.plugins.methods.poseopt.starts import (
    WHO,
    best_of_grid,
    choose_estimator,
    from_estimator,
    grid,
    scores_of,
    with_mirror_image,
    with_other,
)

_SMOOTH = "depth_smoothness"
# standard deviation of colours in [-1, 1] below which a picture shows nothing
_BLANK = 1e-2


class PoseOpt(Inverter[PoseOptConfig]):
    """Camera and latent of one picture, found together; then the generator tuned around them."""

    name = "poseopt"
    summary = "one picture without a camera: latent and camera found together, then tuning"
    licence = "Apache-2.0"
    reference = "Ko et al., 3D GAN Inversion with Pose Optimization, WACV 2023"
    needs: ClassVar[frozenset[Need]] = frozenset()
    default_views = 1
    takes_init = True
    Config = PoseOptConfig
    presets: ClassVar[Presets] = PRESETS
    shown: Sequence[Diagnostic] = ()

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front; the first where cameras aren't known."""
        return [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Find camera and latent, then tune the generator in place."""
        options = self.config.tuning
        if self.config.warp.weighted or (options.smoothness and options.steps):
            generator.require(("image", "depth"), WHO)
        fitted = capture[self.fitted(capture.cameras, len(capture))]
        view = prepare(generator, fitted, context)
        refuse_blank(view)
        encoder = None if context.init is not None else self._encoder(generator)
        warp_losses(self.config, context)
        losses = tuning_losses(self.config, generator, context) if options.steps else None
        search = _Search(generator, view, context, self.config, encoder)
        snapshot = Snapshot(generator)
        fit = yield from search.run()
        for doubt in search.doubts.said(fit, generator.spec.camera):
            context.notice(f"{WHO}: {doubt}")
        if (said := of_the_capture(fit.camera, view)) is not None:
            context.notice(f"{WHO}: {said}")
        if losses is not None:
            yield from _tune(fit, view.with_cameras(fit.camera), losses)
        snapshot.settle()
        self.shown = [*search.shown, shown_fit(generator, view, fit, search.doubts)]
        poses = {view.names[0]: fit.camera.labels()[0]}
        return self.inversion(generator, context, fit.ws, fit.camera, snapshot, poses=poses)

    def _encoder(self, generator: Generator) -> AnyInverter | None:
        """The method that tells the latent to begin with, if one is named."""
        name, options = self.config.encoder, self.config.encoder_options
        if name is None:
            return None
        return load_inner_method(name, options, generator, option="encoder", has={"cameras"})

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return the poses that were tried, and the picture beside what was found."""
        return self.shown


def tuning_losses(config: PoseOptConfig, generator: Generator, context: Context) -> Losses:
    """Return the losses of the tuning stage.

    Raises:
        ConfigError: where there are none, or one is watched that isn't there.
    """
    options = config.tuning
    terms = loss_terms(generator, config, options.losses)
    if options.smoothness:
        terms = {_SMOOTH: LossTerm(weight=options.smoothness)} | terms
    losses = context.losses(terms)
    _stop(options, losses, context)
    return losses


def _stop(options: SmoothTuningOptions, losses: Losses, context: Context) -> Stop | None:
    option = context.option("tuning.threshold_losses")
    return stop_below(options.threshold, losses, options.threshold_losses, option)


def _tune(fit: PosedLatent, view: Capture, losses: Losses) -> Iterator[Progress]:
    """Run the tuning stage, with the camera that was found."""
    generator, context, options = fit.generator, fit.context, fit.config.tuning
    look = Look(view.camera, Objective(losses, target_of(generator, view)))
    updates = {"fit": lambda step: context.backward(generator, fit.ws, look)}
    stop = _stop(options, losses, context)
    yield from tune(generator, context, options, updates, stop=stop)


class _Search:
    """The search for camera and latent while it runs.

    Attributes:
        doubts: what is known of how sure the result is.
        shown: what the starts came to, for the report; nothing where there was one.
    """

    def __init__(
        self,
        generator: Generator,
        view: Capture,
        context: Context,
        config: PoseOptConfig,
        encoder: AnyInverter | None,
    ) -> None:
        self.generator = generator
        self.view = view
        self.context = context
        self.config = config
        self.encoder = encoder
        self.statistics = latent_statistics(generator, config.latent.samples)
        self.terms = loss_terms(generator, config, config.latent.losses)
        self.doubts = Doubts()
        self.shown: list[Diagnostic] = []

    def run(self) -> Iteration[Progress, None, PosedLatent]:
        """Find poses to begin with, fit all of them a little, and the best to the end."""
        estimator = choose_estimator(self.config.pose, self.generator, self.context)
        start = self._start()
        camera = self._told(estimator)
        if camera is None:
            camera = self._searched(start)
        if self.encoder is not None:
            start = yield from self._encode(self.encoder, camera[0])
        if self.config.pose.through == "network":
            assert estimator is not None
            pose: Pose = self._network(estimator)
            return (yield from self._finish(start, pose, self.config.pose.warmup))
        if self.config.starts.given and self.view.cameras is not None:
            camera = with_other(camera, self.view.cameras, self.config.starts)
        cameras = with_mirror_image(camera, self.config.starts)
        return (yield from self._from(start, cameras))

    def _network(self, estimator: AnyEstimator) -> Network:
        """The network that tells the camera, as what changes."""
        options = self.config.pose
        pose = Network(estimator, self.view.images, self.generator, options)
        if pose.form != options.form:
            self.context.notice(
                f"{WHO}: pose.form is {options.form}, but estimator {estimator.name} tells "
                f"rotations as {pose.form}, and so they change as {pose.form}"
            )
        return pose

    def _told(self, estimator: AnyEstimator | None) -> Camera | None:
        """The camera that the estimator tells; None where there's none or it doesn't know."""
        if estimator is None:
            return None
        options = self.config.pose
        return from_estimator(estimator, self.view, self.generator, options, self.context)

    def _searched(self, start: Tensor) -> Camera:
        """The best cameras of a grid, the likeliest first."""
        losses = self.context.losses(self.terms)
        poses = grid(self.generator.spec.camera, self.config.starts)
        poses = poses.to(self.view.images.device, self.view.images.dtype)
        scores = scores_of(self.generator, self.view, self._rows(start), poses, losses)
        return best_of_grid(poses, scores, self.config.starts, self.context)

    def _start(self) -> Tensor:
        """The latent to begin with, [1, 1, w_dim] in W, [1, num_ws, w_dim] in W+."""
        start = start_latent(self.generator, self.context, tuned=self.config.init_tuned)
        if start is None:
            start = self.statistics.mean.expand(1, self.generator.spec.num_ws, -1)
        return self._in_space(start)

    def _in_space(self, ws: Tensor) -> Tensor:
        return (ws if self.config.latent.space == "w+" else ws.mean(1, keepdim=True)).clone()

    def _rows(self, w: Tensor) -> Tensor:
        return w.expand(-1, self.generator.spec.num_ws, -1)

    def _encode(self, method: AnyInverter, camera: Camera) -> Iteration[Progress, None, Tensor]:
        """Let another method tell the latent; what it does to the generator is undone."""
        before = Snapshot(self.generator)
        seen = self.view.with_cameras(camera)
        found = yield from method.steps(self.generator, seen, self.context.within("encoder"))
        before.restore()
        ws = found.ws_for(camera.to("cpu"))
        return self._in_space(ws.to(self.generator.device, self.generator.dtype))

    def _from(self, start: Tensor, cameras: Camera) -> Iteration[Progress, None, PosedLatent]:
        options = self.config
        pose = Numbers(cameras, self.generator.spec.camera, options.pose)
        if not options.starts.steps:
            return (yield from self._finish(start, pose.only(0), options.pose.warmup))
        fit = self._fit(start.repeat(len(cameras), 1, 1), pose)
        self.doubts.begin(fit)
        yield from fit.run("starts", options.starts.steps, options.pose.warmup, noise=False)
        best = self.doubts.of_starts(fit)
        self.shown = [shown_starts(self.view, fit, self.doubts)]
        return (yield from self._finish(fit.w[best : best + 1].clone(), pose.only(best), 0))

    def _finish(self, w: Tensor, pose: Pose, warmup: int) -> Iteration[Progress, None, PosedLatent]:
        fit = self._fit(w, pose)
        self.doubts.begin(fit)
        yield from fit.run("latent", self.config.latent.steps, warmup, noise=True)
        return fit

    def _fit(self, w: Tensor, pose: Pose) -> PosedLatent:
        return PosedLatent(
            self.generator, self.view, self.context, self.config, self.statistics, w, pose
        )


def refuse_blank(view: Capture) -> None:
    """Refuse a picture that's of one colour.

    Raises:
        InputError: where it is.
    """
    if float(view.images.std((2, 3)).max()) < _BLANK:
        raise InputError(
            f"{view.names[0]} of {view.source or 'the capture'}: is of one colour all over, so "
            "that nothing tells its camera; give a picture of a head"
        )
