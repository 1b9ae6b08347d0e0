"""What methods share: the result in the one format."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.errors import ContractError, InputError
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inversion import Snapshot
from inv3d.core.inverter import Inverter, Steps, load_method
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture


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


def test_a_tuned_generator_isnt_inverted_into_again() -> None:
    generator = ToyGenerator(ToyConfig())
    options = {"latent": {"steps": 1, "samples": 50}, "tuning": {"steps": 2}}
    method, capture = load_method("pti", options), toy_capture(generator, 3)
    found = method.invert(generator, capture, Context.create())
    assert found.generator_delta and generator.tuned
    with pytest.raises(InputError, match="is tuned already, by an inversion or for one; load a"):
        method.invert(generator, capture, Context.create())


def test_weights_that_a_method_left_unsettled_count_as_tuned() -> None:
    generator = ToyGenerator(ToyConfig())
    before, front = Snapshot(generator), generator.spec.camera.front()
    idle, ws = Idle(PluginConfig()), torch.zeros(1, 4, 8)
    idle.inversion(generator, Context.create(), ws, front, before)
    assert not generator.tuned
    with torch.no_grad():
        next(generator.parameters()).add_(1)
    found = idle.inversion(generator, Context.create(), ws, front, before)
    assert generator.tuned and found.generator_delta


def test_a_generators_wrong_suggestion_is_its_own() -> None:
    class Wrong(ToyGenerator):
        name = "wrong"
        method_options = {"wplus": {"latent": {"stepz": 5}}}  # noqa: RUF012

    generator = Wrong(ToyConfig())
    with pytest.raises(ContractError, match=r"^generator wrong: its method_options: .*stepz' of"):
        load_method("wplus", {"latent": {"steps": 3}}, generator)
