"""The dual encoder: one true to the picture, one plausible elsewhere, stitched by what is seen.

There's no public code. Equations 8 and 9 as printed take encoded planes for real; here the
discriminator's labels are the right way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture, front
from inv3d.core.errors import UnsupportedError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import TOTAL, Metrics
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import Diagnostic, Inverter, Single, Steps
from inv3d.core.plugin import Presets
from inv3d.core.scene import Rendering, Scene
from inv3d.core.training import Batch, Check, Lesson, Trainable
from inv3d.core.training_options import TrainingConfig
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.encoders.adversarial import discriminator_loss, encoder_loss, gradient_penalty
from inv3d.nn.encoders.discriminator import MapDiscriminator
from inv3d.nn.encoders.dual import DualEncoder, Stitched, occluded_maps, seen_by
from inv3d.nn.encoders.options import DiscriminatorOptions
from inv3d.nn.encoders.published import Published
from inv3d.nn.encoders.triplanenet import PLANES, FirstLook, TriPlaneNet
from inv3d.nn.encoders.zplus import independent_latents
from inv3d.nn.ir_se import IR_SE50_WEIGHTS
from inv3d.plugins.methods.encoders.branches import (
    Sided,
    begin_first,
    make_network,
    novel_loss,
    plane_channels,
    uncertainty_of,
)
from inv3d.plugins.methods.encoders.learning import (
    adds,
    compare,
    optimizer_of,
    start_trunks,
    terms_of,
)
from inv3d.plugins.methods.encoders.options import DualEncoderConfig, DualEncoderTraining
from inv3d.plugins.methods.encoders.reading import read_networks
from inv3d.plugins.methods.encoders.views import Views, encoded_views

FIRST, SECOND, CRITIC = "first", "second", "critic"


class DualNetworks(nn.Module):
    """Both encoders, and for their training the discriminator."""

    def __init__(self, encoders: DualEncoder, critic: MapDiscriminator) -> None:
        super().__init__()
        self.encoders = encoders
        self.critic = critic


class DualEncoderMethod(Inverter[DualEncoderConfig], Trainable[DualEncoderTraining]):
    """Two encoders whose planes are stitched where the picture's camera sees the surface."""

    name = "dualencoder"
    summary = (
        "two encoders, stitched by visibility, for heads from all around; trained for minihead"
    )
    licence = "Apache-2.0"
    reference = "Dual Encoder GAN Inversion for High-Fidelity 3D Head Reconstruction, NeurIPS 2024"
    default_views: ClassVar[int] = 1
    instant: ClassVar[bool] = True
    Config = DualEncoderConfig
    Training: ClassVar[type[TrainingConfig]] = DualEncoderTraining
    weights = (IR_SE50_WEIGHTS,)
    training_presets: ClassVar[Presets] = {
        "paper": DualEncoderTraining.plainly(
            losses={
                "mse": {"weight": 1.0, "resolution": 256},
                "lpips": {"weight": 0.8, "net": "alex"},
                "arcface": 0.5,
            }
        )
    }
    _shown: Callable[[], Diagnostic] | None = None

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front."""
        return [front(cameras)]

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Encode the front view twice and stitch."""
        (found,) = self.together([Single(self, generator, capture, context)])
        return found
        yield

    @classmethod
    def together(cls, singles: Sequence[Single]) -> Sequence[Inversion]:
        """Encode the front views of all captures in one pass."""
        planes = _with_planes(singles[0].generator)
        views = Views.of([encoded_views(one) for one in singles])
        method = singles[0].method
        assert isinstance(method, DualEncoderMethod)
        found, offset = method.encode(planes, views, singles)
        results = []
        for row, one in enumerate(singles):
            assert isinstance(one.method, DualEncoderMethod)
            camera, ws = views.camera[row], found.scene.ws[[row]]
            images, its = views.images[[row]], found[[row]]
            one.method._shown = partial(_shown, one.generator, images, camera, its)
            made = one.method.inversion(
                one.generator, one.context, ws, camera, offset={PLANES: offset[[row]]}
            )
            results.append(made)
        return results

    @torch.no_grad()
    def encode(
        self, generator: TriplaneGenerator, views: Views, told: Sequence[Single]
    ) -> tuple[Stitched, Tensor]:
        """Return what both encoders make of N views, and the offsets of the planes, [N, ...].

        Args:
            generator: that they're for.
            views: one of each capture.
            told: their inversions, which are told of what is uncertain.
        """
        channels = plane_channels(generator)
        ready = read_networks(
            self.name,
            self.config,
            generator,
            [one.context for one in told],
            lambda options: make_encoders(options, generator.spec, channels),
            unpublished,
        )
        network = ready.network
        assert isinstance(network, DualEncoder)
        for encoder in (network.first, network.second):
            encoder.precision = self.config.precision
        found: Stitched = network(generator, views.images, views.camera, ready.average)
        plain = generator.synthesize(found.scene.ws)
        return found, found.scene.parts[PLANES] - plain.parts[PLANES]

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return what each encoder makes of the picture, and both stitched."""
        return () if self._shown is None else (self._shown(),)

    def build(self, generator: Generator) -> nn.Module:
        """Return both encoders and the discriminator."""
        _with_planes(generator)
        channels, width = plane_channels(generator), self.config.discriminator
        seen = 3 if self.config.judged_by == "pictures" else channels
        critic = MapDiscriminator(DiscriminatorOptions(width=width), seen)
        return DualNetworks(make_encoders(self.config, generator.spec, channels), critic)

    def begin(
        self,
        network: nn.Module,
        generator: Generator,
        training: DualEncoderTraining,
        rng: torch.Generator,
    ) -> None:
        """Begin with a face recognition network's trunk, or with an encoder that was trained."""
        assert isinstance(network, DualNetworks)
        for encoder in (network.encoders.first, network.encoders.second):
            parts = [encoder.psp_encoder, encoder.triplanenet_encoder]
            start_trunks(parts, training, rng)
            begin_first(encoder, generator, training)

    def kept(self, network: nn.Module) -> nn.Module:
        """Return the encoders."""
        assert isinstance(network, DualNetworks)
        return network.encoders

    def optimizers(
        self, network: nn.Module, training: DualEncoderTraining
    ) -> Mapping[str, Optimizer]:
        """Return one for each encoder and for the discriminator, all of a kind as in the paper."""
        assert isinstance(network, DualNetworks)
        parts = {
            FIRST: network.encoders.first,
            SECOND: network.encoders.second,
            CRITIC: network.critic,
        }
        return {name: optimizer_of(part.parameters(), training) for name, part in parts.items()}

    def losses(self, lesson: Lesson[DualEncoderTraining], batch: Batch) -> Mapping[str, Metrics]:
        """Return the losses of both encoders and of the discriminator."""
        training, network = lesson.training, lesson.network
        assert isinstance(network, DualNetworks)
        first, _ = self._encoder(lesson, batch, network.encoders.first)
        second, scene = self._encoder(lesson, batch, network.encoders.second)
        if not training.adversarial:
            return {FIRST: first, SECOND: second}
        shown = self._shown_to_critic(lesson, scene, batch.capture.camera)
        maps = shown(scene)
        near = encoder_loss(network.critic(maps))
        second = adds(second, {"near": (training.adversarial, near)})
        critic = self._critic(lesson, network.critic, maps.detach(), shown, batch.step)
        return {FIRST: first, SECOND: second, CRITIC: critic}

    def _shown_to_critic(
        self, lesson: Lesson[DualEncoderTraining], scene: Scene, camera: Camera
    ) -> Callable[[Scene], Tensor]:
        """Return what the discriminator is shown of N scenes, encoded or not: maps [N, C, H, W]."""
        generator = _with_planes(lesson.generator)
        if self.config.judged_by == "pictures":
            draws = lesson.context.state.generators["cpu"]
            others = self.cameras(generator.spec, lesson.training, len(scene), draws)
            others = others.to(generator.device, generator.dtype)
            return lambda one: generator.render(one, others).require("image")
        if self.config.judged_by == "planes":
            return lambda one: one.parts[PLANES].flatten(1, -3)
        visible = seen_by(generator, scene.apply(Tensor.detach), camera)
        return lambda one: occluded_maps(one.parts[PLANES], visible)

    def _encoder(
        self, lesson: Lesson[DualEncoderTraining], batch: Batch, encoder: TriPlaneNet
    ) -> tuple[Metrics, Scene]:
        """Return the losses of one encoder, both branches together, and its scenes."""
        training, generator = lesson.training, lesson.generator
        encoder.precision = training.precision
        sigma = uncertainty_of(training.confidence, generator.spec.resolution)
        sided = Sided(lesson, batch, sigma)
        terms = terms_of(generator, training.losses)
        ws = encoder.latents(batch.capture.images, lesson.average)
        look = encoder.look(generator, ws, batch.capture.camera)
        coarse = _seen(lesson, look, batch, terms)
        scene = look.scene + encoder.offset(batch.capture.images, look)
        made = sided.losses(scene, terms)
        extra = {"latents alone": (1.0, coarse)}
        if batch.ws is not None:
            extra["latent"] = (training.latent, (ws - batch.ws).square().mean())
        rng = lesson.context.state.generators["cpu"]
        camera = self.cameras(generator.spec, training, len(scene), rng)
        other = novel_loss(lesson, batch, scene, camera, terms)
        if other is not None:
            extra["novel"] = (training.novel, other)
        return adds(made, extra), scene

    def _critic(
        self,
        lesson: Lesson[DualEncoderTraining],
        critic: MapDiscriminator,
        encoded: Tensor,
        shown: Callable[[Scene], Tensor],
        step: int,
    ) -> Metrics:
        """Return the discriminator's losses: real are random latents, shown alike."""
        training, generator = lesson.training, lesson.generator
        draws = lesson.context.state.generators["cpu"]
        with torch.no_grad():
            ws = independent_latents(generator, len(encoded), draws)
            real = shown(generator.synthesize(ws))
        lazily = bool(training.r1) and step % training.r1_every == 0
        real.requires_grad_(lazily)
        scores = critic(real)
        loss = training.judged * discriminator_loss(scores, critic(encoded))
        if not lazily:
            return {TOTAL: loss}
        penalty = gradient_penalty(scores, real, training.r1)
        return adds({TOTAL: loss}, {"r1": (float(training.r1_every), penalty)})

    @torch.no_grad()
    def check(self, lesson: Lesson[DualEncoderTraining], batch: Batch) -> Check:
        """Return losses of held-out pictures, of each encoder and stitched, and from behind."""
        network, capture = lesson.network, batch.capture
        assert isinstance(network, DualNetworks)
        generator = _with_planes(lesson.generator)
        found = network.encoders(generator, capture.images, capture.camera, lesson.average)
        scenes = {"first": found.first, "second": found.second, "stitched": found.scene}
        terms = terms_of(generator, lesson.training.losses)
        behind = generator.spec.camera.orbit(capture.camera.yaw + torch.pi, capture.camera.pitch)
        values: Metrics = {}
        pictures: dict[str, Tensor] = {}
        truth = None if batch.ws is None else generator.synthesize(batch.ws)
        for name, scene in scenes.items():
            seen = generator.render(scene, capture.camera)
            other = generator.render(scene, behind)
            near = compare(lesson, terms, seen, capture.images, masks=capture.masks)
            values[f"{name} total"] = near[TOTAL]
            pictures[name] = seen.require("image")
            pictures[f"{name}, from behind"] = other.require("image")
            if truth is not None:
                image = generator.render(truth, behind).require("image")
                values[f"{name} from behind"] = compare(lesson, terms, other, image)[TOTAL]
        return Check(values, pictures)


def make_encoders(config: DualEncoderConfig, spec: GeneratorSpec, channels: int) -> DualEncoder:
    """Return both encoders for a generator, with fresh weights."""
    return DualEncoder(*(make_network(config, spec, channels) for _ in range(2)))


def _seen(lesson: Lesson[Any], look: FirstLook, batch: Batch, terms: Mapping[str, Any]) -> Tensor:
    """Return how far what latents alone make is from the pictures."""
    seen = Rendering(image=look.rendered, ws=look.scene.ws)
    capture = batch.capture
    return compare(lesson, terms, seen, capture.images, masks=capture.masks)[TOTAL]


def _with_planes(generator: Generator) -> TriplaneGenerator:
    """Return a generator whose planes are known to be cells of a volume.

    Raises:
        UnsupportedError: where they aren't.
    """
    if isinstance(generator, TriplaneGenerator):
        return generator
    raise UnsupportedError(
        f"method dualencoder: generator {generator.spec.name} has no tri-planes or tri-grid whose "
        "cells a camera could see; take eg3d, panohead or minihead, or method psp"
    )


def unpublished(path: Path) -> Published:
    """Refuse a file that '3dinv train' hasn't written.

    Raises:
        WeightsError: always.
    """
    raise WeightsError(
        f"{path}: nobody published a dual encoder; give the directory of a training of "
        "'3dinv train dualencoder'"
    )


@torch.no_grad()
def _shown(generator: Generator, images: Tensor, camera: Camera, found: Stitched) -> Diagnostic:
    behind = generator.spec.camera.orbit(camera.yaw + torch.pi, camera.pitch)
    rows, labels = [images.cpu()], ["picture"]
    scenes = {"encoder 1": found.first, "encoder 2": found.second, "stitched": found.scene}
    for place, look in (("", camera), (", from behind", behind)):
        for name, scene in scenes.items():
            rows.append(generator.render(scene, look).require("image").cpu())
            labels.append(f"{name}{place}")
    return Diagnostic("The two encoders", torch.cat(rows), labels)
