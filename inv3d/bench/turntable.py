"""Pictures a second of a scene that was made before."""

from __future__ import annotations

import math
import time

import torch

from inv3d.bench.cases import SEED
from inv3d.bench.results import Turntable
from inv3d.bench.timing import finish
from inv3d.core.generator import neutral_condition
from inv3d.core.scene import OutputName
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.report.views import render_scene


@torch.no_grad()
def turntable(generator: TriplaneGenerator, frames: int, device: torch.device) -> Turntable:
    """Render one scene from all around, at ray resolution and as final pictures.

    Args:
        generator: on the device.
        frames: how many.
        device: where.
    """
    z = torch.randn(1, generator.spec.z_dim, generator=torch.Generator().manual_seed(SEED))
    ws = generator.map(z.to(device, generator.dtype), neutral_condition(generator))
    scene = generator.synthesize(ws)
    yaw = torch.linspace(-math.pi, math.pi, frames + 1)[:-1]
    camera = generator.spec.camera.orbit(yaw).to(device, generator.dtype)

    def rate(output: OutputName) -> float:
        render_scene(generator, scene, camera[:2], output)  # warm
        finish(device)
        started = time.perf_counter()
        render_scene(generator, scene, camera, output)
        finish(device)
        return frames / (time.perf_counter() - started)

    spec = generator.spec
    return Turntable(frames, spec.render_resolution, rate("raw"), spec.resolution, rate("image"))
