"""The three updates of an iteration: fit, depth consistency, interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics, Update
from inv3d.core.fit.objective import Objective
from inv3d.core.generator import Generator
from inv3d.core.latent import bracket
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.plugins.methods.multilatent.config import MultiLatentConfig
from inv3d.plugins.methods.multilatent.depth import DepthStore, own_view_consistency

Losses = Mapping[str, tuple[Loss, float]]


class Regularisers:
    """The updates of one stage; gradients reach the latents or the generator, whichever is free.

    Attributes:
        w: [M, num_ws, w_dim], live.
        store: stored depth maps of the running form, or None.
    """

    def __init__(
        self,
        generator: Generator,
        w: Tensor,
        targets: Capture,
        between: Capture | None,
        losses: Losses,
        distance: Losses,
        config: MultiLatentConfig,
        context: Context,
    ) -> None:
        self.generator = generator
        self.w = w
        self.camera = targets.camera
        self.context = context
        self.config = config
        anchor = w.detach().mean(0)
        self.fit_objective = Objective({**distance, **losses}, _target(targets, anchor))
        if between is not None:
            self._prepare_between(between, losses)
        self.store = self._store() if config.depth and config.depth_form == "running" else None

    def _prepare_between(self, between: Capture, losses: Losses) -> None:
        weighted = {n: (loss, w * self.config.interpolation) for n, (loss, w) in losses.items()}
        self.between_camera = between.camera
        self.between_objective = Objective(weighted, _target(between))
        self.lower, self.upper, fraction = bracket(self.camera.yaw, between.camera.yaw)
        if self.config.interpolation_at == "middle":
            fraction = torch.full_like(fraction, 0.5)
        self.fraction = fraction.to(self.w)[:, None, None]

    def _store(self) -> DepthStore:
        side = self.generator.spec.render_resolution
        return DepthStore(len(self.w), len(self.w), (side, side), device=self.w.device)

    def updates(self) -> dict[str, Update]:
        """Return the updates that are switched on, in their order."""
        updates: dict[str, Update] = {"fit": self._fit}
        if self.config.depth:
            updates["depth"] = self._exact_depth if self.store is None else self._running_depth
        if self.config.interpolation:
            updates["interpolation"] = self._interpolate
        return updates

    def buffers(self) -> dict[str, Tensor]:
        """Return the stored depth maps, for checkpoints."""
        return {} if self.store is None else self.store.buffers()

    def _fit(self, step: int) -> Metrics:
        return self.context.backward(self.generator, self.w, self.camera, self.fit_objective)

    def _interpolate(self, step: int) -> Metrics:
        ws = torch.lerp(self.w[self.lower], self.w[self.upper], self.fraction)
        return self.context.backward(
            self.generator, ws, self.between_camera, self.between_objective
        )

    def _running_depth(self, step: int) -> Metrics:
        """All latents from one random camera against the mean of the stored maps."""
        store, camera = self.store, self.context.randint(len(self.w))
        assert store is not None

        def loss(rendering: Rendering) -> Tensor:
            return self.config.depth * store.losses(rendering.require("depth"), camera).sum()

        cameras = self.camera[camera].repeat_interleave(len(self.w))
        return self._depth(cameras, loss)

    def _exact_depth(self, step: int) -> Metrics:
        """Eq. 6: every latent from its own camera against the mean over all latents from there."""
        count = len(self.w)

        def loss(rendering: Rendering) -> Tensor:
            depth = rendering.require("depth")[:, 0]
            by_camera = depth.reshape(count, count, *depth.shape[1:]).transpose(0, 1)
            return self.config.depth * own_view_consistency(by_camera).sum()

        return self._depth(Camera.cat([self.camera] * count), loss)

    def _depth(self, cameras: Camera, loss: Callable[[Rendering], Tensor]) -> Metrics:
        total = self.context.backward_joint(self.generator, self.w, cameras, loss, ("depth",))
        return {"total": total}


def _target(views: Capture, anchor: Tensor | None = None) -> Target:
    return Target(views.images, views.masks, views.depths, anchor)
