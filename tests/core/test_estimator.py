"""The contract of estimators: networks that turn pictures into cameras, and can be optimised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError, PluginError
from inv3d.core.estimator import Estimator, load_estimator
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Stage
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.stages import target_of, trainable
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents


class YawConfig(PluginConfig):
    guess: float = Field(0.0, description="yaw of every picture before it's trained, radians")


class Yaw(Estimator[YawConfig]):
    """Yaw by one linear layer."""

    name = "yaw"
    api = "1.0"
    Config = YawConfig

    def __init__(self, config: YawConfig) -> None:
        super().__init__(config)
        self.layer = nn.Linear(3 * 32 * 32, 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.constant_(self.layer.bias, config.guess)

    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        return generator.spec.camera.orbit(self.layer(images.flatten(1))[:, 0])


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", f"estimators:yaw={__name__}:Yaw")
    registry.cache_clear()
    yield
    registry.cache_clear()


def test_an_estimator_is_built_by_name_frozen_with_its_options() -> None:
    estimator = load_estimator("yaw", {"guess": 0.25})
    assert isinstance(estimator, Yaw) and not estimator.training
    assert not any(p.requires_grad for p in estimator.parameters())
    images = torch.zeros(2, 3, 32, 32)
    camera = estimator.estimate(images, ToyGenerator(ToyConfig()))
    assert torch.allclose(camera.yaw, torch.full((2,), 0.25))
    with pytest.raises(ConfigError, match="unknown option 'gues' of estimator yaw"):
        load_estimator("yaw", {"gues": 1})
    with pytest.raises(PluginError, match="unknown estimator 'yav'"):
        load_estimator("yav")


@pytest.mark.parametrize("chunk", [None, 1])
def test_a_method_goes_on_optimising_its_networks(chunk: int | None) -> None:
    generator = ToyGenerator(ToyConfig()).requires_grad_(False)
    capture, ws = toy_capture(generator, 3, yaw_deg=15.0), toy_latents(generator, 1)
    estimator, context = load_estimator("yaw"), Context.create(view_chunk=chunk)
    objective = context.objective({"mse": LossTerm()}, target_of(generator, capture))

    def update(step: int) -> Metrics:
        camera = estimator.estimate(capture.images, generator)
        return context.backward(generator, ws, Look(camera, objective))

    with trainable(dict(estimator.named_parameters())) as networks:
        stage = Stage("pose", 30, {"pose": Group(networks, constant(1e-3))}, {"fit": update})
        log = list(context.run(stage))
    assert log[-1].losses["total"] < 0.5 * log[0].losses["total"]
    found = estimator.estimate(capture.images, generator).yaw
    truth = capture.camera.yaw
    assert (found - truth).abs().mean() < 0.5 * truth.abs().mean()
