"""The three updates of an iteration: fit, depth consistency, interpolation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, is_circle
from inv3d.core.fit.backward import Joint, Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics, Run
from inv3d.core.fit.objective import Losses, Objective
from inv3d.core.fit.stages import target_of
from inv3d.core.generator import Generator
from inv3d.core.latent import between_angles
from inv3d.core.scene import Rendering
from inv3d.plugins.methods.multilatent.config import MultiLatentConfig
from inv3d.plugins.methods.multilatent.depth import DepthStore, own_view_consistency


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
        target = target_of(generator, targets, anchor=anchor)
        self.fit_look = Look(targets.camera, Objective({**distance, **losses}, target))
        if between is not None:
            self._prepare_between(between, losses)
        self.store = self._store() if config.depth and config.depth_form == "running" else None

    def _prepare_between(self, between: Capture, losses: Losses) -> None:
        weighted = {name: one.times(self.config.interpolation) for name, one in losses.items()}
        target = target_of(self.generator, between)
        self.between_look = Look(between.camera, Objective(weighted, target))
        every = torch.cat([self.camera.yaw, between.camera.yaw])
        places = between_angles(self.camera.yaw, between.camera.yaw, turn=is_circle(every))
        if self.config.interpolation_at == "middle":
            places = replace(places, fraction=torch.full_like(places.fraction, 0.5))
        self.places = places

    def _store(self) -> DepthStore:
        side = self.generator.spec.render_resolution
        return DepthStore(len(self.w), len(self.w), (side, side), device=self.w.device)

    def updates(self) -> dict[str, Run]:
        """Return the updates that are switched on, in their order."""
        updates: dict[str, Run] = {"fit": self._fit}
        if self.config.depth:
            updates["depth"] = (
                self._exact_depth if self.store is None else self._running_depth(self.store)
            )
        if self.config.interpolation:
            updates["interpolation"] = self._interpolate
        return updates

    def buffers(self) -> dict[str, Tensor]:
        """Return the stored depth maps, for checkpoints."""
        return {} if self.store is None else self.store.buffers()

    def _fit(self, step: int) -> Metrics:
        return self.context.backward(self.generator, self.w, self.fit_look)

    def _interpolate(self, step: int) -> Metrics:
        ws = self.places.blend(self.w)
        return self.context.backward(self.generator, ws, self.between_look)

    def _running_depth(self, store: DepthStore) -> Run:
        """All latents from one random camera against the mean of the stored maps."""

        def update(step: int) -> Metrics:
            camera = self.context.randint(len(self.w))

            def loss(rendering: Rendering, cameras: Camera) -> Tensor:
                return self.config.depth * store.losses(rendering.require("depth"), camera).sum()

            return self._depth(self.camera[camera].repeat_interleave(len(self.w)), loss)

        return update

    def _exact_depth(self, step: int) -> Metrics:
        """Eq. 6: every latent from its own camera against the mean over all latents from there."""
        count = len(self.w)

        def loss(rendering: Rendering, cameras: Camera) -> Tensor:
            depth = rendering.require("depth")[:, 0]
            by_camera = depth.reshape(count, count, *depth.shape[1:]).transpose(0, 1)
            return self.config.depth * own_view_consistency(by_camera).sum()

        return self._depth(Camera.cat([self.camera] * count), loss)

    def _depth(self, cameras: Camera, loss: Joint) -> Metrics:
        look = Look(cameras, joint=loss, outputs=("depth",))
        return self.context.backward(self.generator, self.w, look)
