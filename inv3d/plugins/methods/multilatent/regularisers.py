"""The three updates of an iteration: fit, depth consistency, interpolation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, is_circle
from inv3d.core.fit.backward import Joint, Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import TOTAL, Metrics, Run, Update
from inv3d.core.fit.objective import Losses, that_look
from inv3d.core.fit.stages import looks_in_turn
from inv3d.core.fit.turns import Turns
from inv3d.core.generator import Generator
from inv3d.core.latent import between_angles, latent_statistics
from inv3d.core.scene import Rendering
from inv3d.plugins.methods.multilatent.config import MultiLatentConfig
from inv3d.plugins.methods.multilatent.depth import DepthStore, own_view_consistency


class Regularisers:
    """The updates of one stage; gradients reach the latents or the generator, whichever is free.

    Attributes:
        w: [M, num_ws, w_dim], live.
        turns: of the latents.
        between_turns: of the views between them.
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
        *,
        together: bool = False,
    ) -> None:
        self.generator = generator
        self.w = w
        self.camera = targets.camera
        self.context = context
        self.config = config
        self.together = together
        self.few = None if together else config.views_per_step
        self.every = config.depth_every if config.depth and not together else 1
        self.turns = Turns.by_angle(targets.camera, self.few)
        pulled = any(not one.loss.needs for one in losses.values())
        self.fit_looks = looks_in_turn(
            generator,
            targets,
            {**distance, **losses},
            self.turns,
            anchor=w.detach().mean(0),
            mean=latent_statistics(generator).mean[None] if pulled else None,
        )
        if between is not None:
            self._prepare_between(between, losses)
        self.store = self._store() if config.depth and config.depth_form == "running" else None

    def _prepare_between(self, between: Capture, losses: Losses) -> None:
        factor = self.config.interpolation
        weighted = {name: one.times(factor) for name, one in that_look(losses).items()}
        self.between_turns = Turns.by_angle(between.camera, self.few)
        self.between_looks = looks_in_turn(self.generator, between, weighted, self.between_turns)
        every = torch.cat([self.camera.yaw, between.camera.yaw])
        places = between_angles(self.camera.yaw, between.camera.yaw, turn=is_circle(every))
        if self.config.interpolation_at == "middle":
            places = replace(places, fraction=torch.full_like(places.fraction, 0.5))
        self.places = places

    def _store(self) -> DepthStore:
        side = self.generator.spec.render_resolution
        return DepthStore(len(self.w), len(self.w), (side, side), device=self.w.device)

    def updates(self) -> dict[str, Update | Run]:
        """Return the updates that are switched on, in their order, or all of them as one."""
        updates = self._switched_on()
        if self.together:
            return {"fit": Update(_sum(updates), still=True)}
        if self.every > 1:
            return {**updates, "depth": Update(updates["depth"], every=self.every)}
        return dict(updates)

    def _switched_on(self) -> dict[str, Run]:
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
        ws = _rows(self.w, self.turns, step)
        return self.context.backward(self.generator, ws, self.fit_looks[step % self.turns.round])

    def _interpolate(self, step: int) -> Metrics:
        turns = self.between_turns
        ws = _rows(self.places.blend(self.w), turns, step)
        return self.context.backward(self.generator, ws, self.between_looks[step % turns.round])

    def _running_depth(self, store: DepthStore) -> Run:
        """All latents from one random camera against the mean of the stored maps."""

        def update(step: int) -> Metrics:
            turn = step // self.every
            camera, latents = self.context.randint(len(self.w)), self.turns.at(turn)
            weight = self.config.depth * self.turns.factor

            def loss(rendering: Rendering, cameras: Camera) -> Tensor:
                depth = rendering.require("depth")
                return weight * store.losses_of(depth, camera, latents).sum()

            ws = _rows(self.w, self.turns, turn)
            return self._depth(ws, self.camera[camera].repeat_interleave(len(latents)), loss)

        return update

    def _exact_depth(self, step: int) -> Metrics:
        """Eq. 6: every latent from its own camera against the mean over all latents from there."""
        latents = self.turns.at(step // self.every)
        shape = (len(self.w), len(latents))
        weight = self.config.depth * self.turns.factor

        def loss(rendering: Rendering, cameras: Camera) -> Tensor:
            depth = rendering.require("depth")[:, 0]
            by_camera = depth.reshape(*shape, *depth.shape[1:]).transpose(0, 1)
            return weight * own_view_consistency(by_camera, latents).sum()

        return self._depth(self.w, Camera.cat([self.camera[latents]] * shape[0]), loss)

    def _depth(self, ws: Tensor, cameras: Camera, loss: Joint) -> Metrics:
        look = Look(cameras, joint=loss, outputs=("depth",))
        return self.context.backward(self.generator, ws, look)


def _rows(ws: Tensor, turns: Turns, turn: int) -> Tensor:
    """Return the latents of a turn."""
    return ws if turns.round == 1 else ws[turns.at(turn)]


def _sum(updates: Mapping[str, Run]) -> Run:
    """Return one update that adds up the gradients of several; its total is their sum."""

    def update(step: int) -> Metrics:
        found = {name: run(step) for name, run in updates.items()}
        named = {
            f"{name}/{loss}" if i else loss: value
            for i, (name, metrics) in enumerate(found.items())
            for loss, value in metrics.items()
        }
        totals = [metrics[TOTAL] for metrics in found.values()]
        return named | {TOTAL: sum(totals[1:], totals[0])}

    return update
