"""The contract of methods that are trained, and the record of a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.errors import MismatchError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.inverter import Steps
from inv3d.core.training import Batch, Trainable, Trained, TrainingConfig
from inv3d.core.weights.tensors import write_tensors
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture


class Encoder(Trainable[PluginConfig]):
    """Pictures to latents by one linear layer, and a critic that nobody listens to."""

    name = "encoder"
    needs = frozenset()

    def build(self, spec: GeneratorSpec) -> nn.Module:
        torch.manual_seed(0)
        size = 3 * spec.resolution**2
        encode = nn.Linear(size, spec.num_ws * spec.w_dim)
        return nn.ModuleDict({"encode": encode, "critic": nn.Linear(size, 1)})

    def optimizers(
        self, network: nn.Module, training: TrainingConfig
    ) -> dict[str, torch.optim.Optimizer]:
        assert isinstance(network, nn.ModuleDict)
        return {
            name: torch.optim.Adam(part.parameters(), lr=training.lr)
            for name, part in network.items()
        }

    def due(self, optimizer: str, step: int) -> bool:
        return optimizer == "encode" or step % 4 == 0

    def losses(
        self,
        network: nn.Module,
        generator: Generator,
        batch: Batch,
        optimizer: str,
        context: Context,
    ) -> Metrics:
        assert isinstance(network, nn.ModuleDict) and batch.ws is not None
        images = batch.capture.images.flatten(1)
        if optimizer == "critic":
            return {"total": network["critic"](images).square().mean()}
        found = network["encode"](images).view_as(batch.ws)
        return {"total": (found - batch.ws).square().mean()}

    def latent_average(self, generator: Generator, context: Context) -> Tensor | None:
        return torch.zeros(1, generator.spec.w_dim)

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        network = self.build(generator.spec)
        with torch.no_grad():
            ws = network["encode"](capture.images[:1].flatten(1))  # type: ignore[index]
        ws = ws.view(1, generator.spec.num_ws, -1)
        return self.inversion(generator, context, ws, generator.spec.camera.front())
        yield


def _trained() -> tuple[Encoder, ToyGenerator, Trained]:
    """Train by hand, as the loop will."""
    encoder, generator = Encoder(PluginConfig()), ToyGenerator(ToyConfig())
    training, context = TrainingConfig(steps=12, lr=1e-3, batch=4), Context.create()
    network = encoder.build(generator.spec)
    optimizers = encoder.optimizers(network, training)
    with torch.no_grad():
        ws = generator.map(torch.randn(4, 8, generator=torch.Generator().manual_seed(1)))
        camera = generator.spec.camera.front().repeat_interleave(4)
        images = generator.render(generator.synthesize(ws), camera).require("image")
    capture = Capture(images, None, tuple("abcd"))
    for step in range(training.steps):
        batch = Batch(capture, ws, step)
        for name, optimizer in optimizers.items():
            if encoder.due(name, step):
                network.zero_grad()
                encoder.losses(network, generator, batch, name, context)["total"].backward()
                optimizer.step()
    trained = Trained(
        encoder.name,
        "toy",
        generator.spec.fingerprint,
        network.state_dict(),
        encoder.latent_average(generator, context),
        training=training.model_dump(),
        steps=training.steps,
    )
    return encoder, generator, trained


def test_a_training_is_kept_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    encoder, generator, trained = _trained()
    trained.save(tmp_path / "encoder.safetensors")
    found = Trained.load(tmp_path / "encoder.safetensors")
    assert (found.method, found.generator, found.steps) == ("encoder", "toy", 12)
    assert found.training == {"steps": 12, "batch": 4, "lr": 1e-3}
    assert found.latent_avg is not None and found.latent_avg.shape == (1, 8)
    network = encoder.build(generator.spec)
    before = network.state_dict()["encode.weight"].clone()
    found.load_into(network, "encoder.safetensors")
    after = network.state_dict()["encode.weight"]
    assert torch.equal(after, trained.tensors["encode.weight"]) and not torch.equal(after, before)
    assert found.misfit(generator) == ""


def test_a_training_for_another_generator_is_named() -> None:
    _, _, trained = _trained()
    text = trained.misfit(ToyGenerator(ToyConfig(seed=1)))
    assert text.startswith(f"encoder was trained for generator toy, {trained.fingerprint}, but")


def test_networks_of_other_sizes_are_refused() -> None:
    _, _, trained = _trained()
    with pytest.raises(MismatchError, match=r"e\.safetensors: weights of another architecture"):
        trained.load_into(nn.Linear(2, 3), "e.safetensors")


def test_other_files_hold_no_training(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"x": torch.zeros(1)}, {"kind": "directions"})
    with pytest.raises(WeightsError, match=r"x\.safetensors: holds no trained networks"):
        Trained.load(tmp_path / "x.safetensors")


def test_a_method_without_steps_returns_at_once() -> None:
    generator = ToyGenerator(ToyConfig())
    capture = toy_capture(generator, 1)
    inversion = Encoder(PluginConfig()).invert(generator, capture, Context.create())
    assert inversion.ws.shape == (1, 4, 8) and inversion.method == "encoder"
