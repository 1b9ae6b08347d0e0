"""Running methods on the toy generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import build_config
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import Inverter, Steps
from inv3d.core.scene import Rendering, Scene
from inv3d.plugins.methods.hfgi3d import HFGI3D
from inv3d.plugins.methods.multilatent import MultiLatent
from inv3d.plugins.methods.multiview import MultiView
from inv3d.plugins.methods.poseopt import PoseOpt
from inv3d.plugins.methods.pti import PTI
from inv3d.plugins.methods.spi import SPI
from inv3d.plugins.methods.wplus import WPlus
from inv3d.testing.toy import ToyConfig, ToyGenerator

METHODS: dict[str, type[Inverter]] = {
    kind.name: kind for kind in (WPlus, PTI, MultiView, MultiLatent, HFGI3D, SPI, PoseOpt)
}
# The toy's latents are small: the pull of the paper would hold them at the mean.
FREE = {"latent": {"pull": 0.0, "samples": 500}}


class Watched(ToyGenerator):
    """Remembers how many scenes and views it made at a time, and can run out of memory."""

    def __init__(self, room: int | None = None, sampling: str = "deterministic") -> None:
        super().__init__(ToyConfig(sampling=sampling))  # type: ignore[arg-type]
        self.room = room
        self.scenes: list[int] = []
        self.views: list[int] = []

    def synthesize(self, ws: Tensor) -> Scene:
        self.scenes.append(len(ws))
        return super().synthesize(ws)

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        self.views.append(len(camera))
        if self.room is not None and len(camera) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().render(scene, camera, **options)


@dataclass
class Fit:
    """A finished run."""

    generator: ToyGenerator
    inversion: Inversion
    log: list[Progress]
    context: Context

    def losses(self, stage: str, name: str = "total") -> list[float]:
        return [p.losses[name] for p in self.log if p.stage == stage]

    def error(self, capture: Capture) -> Tensor:
        """Mean squared error of every view, [N]."""
        with torch.no_grad():
            scene = self.inversion.scene_for(self.generator, capture.camera)
            image = self.generator.render(scene, capture.camera).require("image")
        return (image - capture.images).square().mean((1, 2, 3))


def method(name: str, options: Mapping[str, Any]) -> Inverter:
    kind = METHODS[name]
    return kind.create(build_config(kind.Config, options, f"method {name}"))


def take(steps: Steps, watch: Callable[[Progress], object]) -> Inversion:
    """Take all steps, show each to a watcher, and return what the method returns."""
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            assert isinstance(end.value, Inversion)
            return end.value
        watch(progress)


def fit(
    name: str,
    options: Mapping[str, Any],
    capture: Capture,
    *,
    generator: ToyGenerator | None = None,
    context: Context | None = None,
) -> Fit:
    """Run a method to its end."""
    generator = generator or ToyGenerator(ToyConfig())
    context = context or Context.create()
    log: list[Progress] = []
    inversion = take(method(name, options).steps(generator, capture, context), log.append)
    return Fit(generator, inversion, log, context)


def same(first: Inversion, second: Inversion) -> bool:
    """Whether two inversions are identical to the last bit."""
    if first.generator_delta.keys() != second.generator_delta.keys():
        return False
    deltas = [(first.generator_delta[n], second.generator_delta[n]) for n in first.generator_delta]
    cameras = (first.cameras.labels(), second.cameras.labels())
    return all(torch.equal(a, b) for a, b in [(first.ws, second.ws), cameras, *deltas])
