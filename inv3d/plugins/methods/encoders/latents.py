"""A picture to latents by one pass of an encoder: what pSp and e4e share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import TOTAL, Metrics
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import Inverter, Single, Steps
from inv3d.core.training import Batch, Check, Lesson, Trainable
from inv3d.nn.encoders.encode import encode, make_encoder
from inv3d.nn.encoders.options import EncoderOptions
from inv3d.nn.encoders.published import Published, read_encoder
from inv3d.plugins.methods.encoders.learning import (
    adds,
    compare,
    optimizer_of,
    start_trunks,
    terms_of,
)
from inv3d.plugins.methods.encoders.options import E4EConfig, LatentTraining, PSPConfig
from inv3d.plugins.methods.encoders.reading import read_networks
from inv3d.plugins.methods.encoders.views import Views, by_frame, encoded_views, fitted_views

C = TypeVar("C", PSPConfig, E4EConfig)
T = TypeVar("T", bound=LatentTraining)
ENCODER = "encoder"
# radians of the further view that evaluations show
_AWAY = 0.6


def renders(training: LatentTraining, batch: Batch) -> bool:
    """Whether pictures are rendered at a step; always where nothing else would be learnt from."""
    if batch.ws is None or not training.latent:
        return True
    return bool(training.render_every) and batch.step % training.render_every == 0


class LatentEncoder(Inverter[C], Trainable[T]):
    """An encoder of the front view; one pass, no steps."""

    default_views: ClassVar[int] = 1
    instant: ClassVar[bool] = True

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front, or all."""
        return fitted_views(self.config, cameras, count)

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Encode the front view, or every view by itself."""
        (found,) = self.together([Single(self, generator, capture, context)])
        return found
        yield

    @classmethod
    def together(cls, singles: Sequence[Single]) -> Sequence[Inversion]:
        """Encode the views of all captures in one pass."""
        seen = [encoded_views(one) for one in singles]
        method, views = singles[0].method, Views.of(seen)
        assert isinstance(method, LatentEncoder)
        rows = views.split(method.encode(singles[0].generator, views, singles))
        return [
            one.method.inversion(one.generator, one.context, ws, its.camera, **by_frame(its))
            for one, ws, its in zip(singles, rows, seen, strict=True)
        ]

    @torch.no_grad()
    def encode(self, generator: Generator, views: Views, told: Sequence[Single]) -> Tensor:
        """Return the latents of views, [N, num_ws, w_dim].

        Args:
            generator: that they're for.
            views: of one or several captures.
            told: their inversions, which are told of what is uncertain.
        """
        spec, config = generator.spec, self.config
        ready = read_networks(
            self.name,
            config,
            generator,
            [one.context for one in told],
            lambda options: make_encoder(options.encoder, spec.num_ws, spec.w_dim),
            lambda path: self.published(path, spec),
        )
        encoder, sizes = self.asked(ready.network), ready.options.encoder
        found = [
            encode(encoder, images, sizes, spec.num_ws, ready.average, config.precision)
            for images, _ in views.parts()
        ]
        return torch.cat(found)

    def published(self, path: Path, spec: GeneratorSpec) -> Published:
        """Read an encoder that others published.

        Raises:
            WeightsError: where the file is missing, damaged or of another architecture.
        """
        return read_encoder(path, self.config.encoder, w_dim=spec.w_dim)

    def asked(self, encoder: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return what the encoder is asked for: all of its latents unless overridden."""
        return encoder

    def build(self, generator: Generator) -> nn.Module:
        """Return the encoder."""
        return make_encoder(self.config.encoder, generator.spec.num_ws, generator.spec.w_dim)

    def encoder(self, network: nn.Module) -> nn.Module:
        """Return the encoder among the networks."""
        return network

    def begin(
        self, network: nn.Module, generator: Generator, training: T, rng: torch.Generator
    ) -> None:
        """Begin with the trunk of a face recognition network, where wanted."""
        start_trunks([self.encoder(network)], training, rng)

    def optimizers(self, network: nn.Module, training: T) -> Mapping[str, Optimizer]:
        """Return the encoder's optimiser."""
        return {ENCODER: optimizer_of(self.encoder(network).parameters(), training)}

    def kept(self, network: nn.Module) -> nn.Module:
        """Return the encoder."""
        return self.encoder(network)

    def latents(self, lesson: Lesson[T], batch: Batch) -> Tensor:
        """Return the latents of pictures as the training has them at its step."""
        return self.encoded(lesson, batch, self.encoder(lesson.network))

    def encoded(self, lesson: Lesson[T], batch: Batch, encoder: Callable[..., Tensor]) -> Tensor:
        """Return what an encoder makes of pictures, [B, num_ws, w_dim]."""
        options: EncoderOptions = self.config.encoder
        return encode(
            encoder,
            batch.capture.images,
            options,
            lesson.generator.spec.num_ws,
            lesson.average,
            lesson.training.precision,
        )

    def losses(self, lesson: Lesson[T], batch: Batch) -> Mapping[str, Metrics]:
        """Return the encoder's losses."""
        return {ENCODER: self.reconstruction(lesson, batch, self.latents(lesson, batch))}

    def reconstruction(self, lesson: Lesson[T], batch: Batch, ws: Tensor) -> Metrics:
        """Return the losses of pictures that are rendered from latents, and of the latents."""
        generator, training = lesson.generator, lesson.training
        made: Metrics = {}
        if renders(training, batch):
            seen = generator.render(generator.synthesize(ws), batch.capture.camera)
            terms = terms_of(generator, training.losses)
            capture = batch.capture
            made = compare(lesson, terms, seen, capture.images, masks=capture.masks)
        away = ws.new_zeros(()) if batch.ws is None else (ws - batch.ws).square().mean()
        return adds(made, {"latent": (training.latent, away)})

    @torch.no_grad()
    def check(self, lesson: Lesson[T], batch: Batch) -> Check:
        """Return losses of held-out pictures, and what they look like from elsewhere."""
        generator, images = lesson.generator, batch.capture.images
        ws = self.latents(lesson, batch)
        scene, camera = generator.synthesize(ws), batch.capture.camera
        seen = generator.render(scene, camera)
        terms = terms_of(generator, lesson.training.losses)
        values = compare(lesson, terms, seen, images, masks=batch.capture.masks)
        values["mean latent"] = self._of_average(lesson, batch)
        if batch.ws is not None:
            values["latent"] = (ws - batch.ws).square().mean()
        turned = generator.spec.camera.orbit(camera.yaw + _AWAY, camera.pitch)
        pictures = {
            "reconstruction": seen.require("image"),
            "from elsewhere": generator.render(scene, turned).require("image"),
        }
        return Check(values, pictures)

    def _of_average(self, lesson: Lesson[T], batch: Batch) -> Tensor:
        """Return the total of the mean latent, beside which an encoder is measured."""
        generator, spec = lesson.generator, lesson.generator.spec
        ws = lesson.average[None].expand(1, spec.num_ws, -1)
        seen = generator.render(generator.synthesize(ws), batch.capture.camera)
        terms = terms_of(generator, lesson.training.losses)
        capture = batch.capture
        return compare(lesson, terms, seen, capture.images, masks=capture.masks)[TOTAL]
