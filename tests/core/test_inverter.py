"""What methods share: the result in the one format."""

from __future__ import annotations

import torch

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inverter import Inverter, Steps
from inv3d.testing.toy import ToyConfig, ToyGenerator


class Idle(Inverter[PluginConfig]):
    name = "idle"

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        raise NotImplementedError


def test_a_result_has_tensors_of_its_own_without_a_graph() -> None:
    generator = ToyGenerator(ToyConfig()).double()
    front = generator.spec.camera.front().to(dtype=torch.float64)
    ws = torch.zeros(1, 4, 8, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(1, 8, 3, dtype=torch.float64, requires_grad=True)
    scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
    camera = Camera(front.cam2world * scale, front.intrinsics * scale)
    found = Idle(PluginConfig()).inversion(
        generator,
        Context.create(),
        ws,
        camera,
        offset={"centres": offset},
        poses={"a.png": camera.labels()[0]},
    )
    with torch.no_grad():
        offset += 1
    cameras = [found.cameras.cam2world, found.cameras.intrinsics]
    tensors = [found.ws, *found.offset.values(), *found.poses.values(), *cameras]
    assert all(t.dtype == torch.float32 and not t.requires_grad for t in tensors)
    assert not found.offset["centres"].any()
