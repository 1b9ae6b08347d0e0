"""A method and an estimator of a few numbers, for the tests of trainings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.estimator import Estimator
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics
from inv3d.core.generator import Generator
from inv3d.core.inverter import Inverter, Steps
from inv3d.core.trained import find_trained
from inv3d.core.training import Batch, Check, Lesson, Trainable
from inv3d.core.training_options import TrainingConfig

PLUGINS = (
    "generators:toy=inv3d.testing.toy:ToyGenerator",
    "methods:toyenc=tests.train.toy_encoder:ToyEncoder",
    "methods:toylatent=tests.train.toy_encoder:ToyLatent",
    "estimators:toypose=tests.train.toy_encoder:ToyPose",
)


class ToyTraining(TrainingConfig):
    """Options of the training."""

    break_at: int = Field(default=-1, description="step whose loss isn't finite")
    noise: float = Field(default=1e-3, description="weight of a random number in the loss")


class ToyEncoderConfig(PluginConfig):
    """Options of the method."""

    width: int = Field(default=8, description="channels")
    weights: str | None = None


class ToyEncoder(Inverter[ToyEncoderConfig], Trainable[ToyTraining]):
    """Pictures to latents, and a critic of latents that takes every second step."""

    name = "toyenc"
    api = "1.0"
    Config = ToyEncoderConfig
    Training = ToyTraining

    def build(self, generator: Generator) -> nn.Module:
        spec, width = generator.spec, self.config.width
        encode = nn.Sequential(
            nn.Conv2d(3, width, 4, 4, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(width * (spec.resolution // 4) ** 2, spec.num_ws * spec.w_dim),
        )
        return nn.ModuleDict({"encode": encode, "critic": nn.Linear(spec.w_dim, 1)})

    def optimizers(
        self, network: nn.Module, training: ToyTraining
    ) -> Mapping[str, torch.optim.Optimizer]:
        assert isinstance(network, nn.ModuleDict)
        return {
            name: torch.optim.Adam(part.parameters(), lr=training.lr)
            for name, part in network.items()
        }

    def losses(self, lesson: Lesson[ToyTraining], batch: Batch) -> Mapping[str, Metrics]:
        network, spec = lesson.network, lesson.generator.spec
        assert isinstance(network, nn.ModuleDict) and batch.capture.posed
        ws = network["encode"](batch.capture.images).view(-1, spec.num_ws, spec.w_dim)
        if batch.ws is None:
            error = (ws - lesson.average).square().mean()
        else:
            error = (ws - batch.ws).square().mean()
        noise = lesson.training.noise * lesson.context.randn((1,), like=ws).mean()
        total = error + 0.01 * network["critic"](ws).mean() + noise * ws.mean()
        if batch.step == lesson.training.break_at:
            total = total * torch.nan
        made: dict[str, Metrics] = {"encode": {"total": total, "latent": error}}
        if batch.step % 2 == 0:
            made["critic"] = {"total": network["critic"](ws).square().mean()}
        return made

    def check(self, lesson: Lesson[ToyTraining], batch: Batch) -> Check:
        losses = self.losses(lesson, batch)["encode"]
        return Check({"latent": losses["latent"].detach()}, {"same again": batch.capture.images})

    def kept(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, nn.ModuleDict)
        return network["encode"]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        trained, path = find_trained(self.name, generator, None, "--set weights=PATH")
        network = self.kept(self.build(generator))
        trained.load_into(network, path)
        ws = network.eval()(capture.images[:1]).view(1, generator.spec.num_ws, -1)
        return self.inversion(generator, context, ws, generator.spec.camera.front())
        yield


class ToyLatent(ToyEncoder):
    """The same, which needs true latents."""

    name = "toylatent"
    learns_from = frozenset({"latents"})


class ToyPose(Estimator[PluginConfig], Trainable[TrainingConfig]):
    """Pictures to yaws, by a network that is a part of it."""

    name = "toypose"
    api = "1.0"

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        self.network = nn.Linear(3, 1)

    def build(self, generator: Generator) -> nn.Module:
        return nn.Linear(3, 1)

    def losses(self, lesson: Lesson[TrainingConfig], batch: Batch) -> Mapping[str, Metrics]:
        yaw = lesson.network(batch.capture.images.mean((2, 3)))[:, 0]
        return {"network": {"total": (yaw - batch.capture.camera.yaw).square().mean()}}

    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        return generator.spec.camera.orbit(self.network(images.mean((2, 3)))[:, 0])
