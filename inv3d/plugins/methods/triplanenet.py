"""TriPlaneNet: a picture to latents, and to an offset of the planes that keeps what they lack."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Metrics
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import Diagnostic, Inverter, Single, Steps
from inv3d.core.plugin import Presets
from inv3d.core.scene import Rendering
from inv3d.core.training import Batch, Check, Lesson, Trainable
from inv3d.core.training_options import TrainingConfig
from inv3d.nn.encoders.published import Published, read_triplanenet
from inv3d.nn.encoders.triplanenet import PLANES, FirstLook, TriPlaneNet
from inv3d.nn.ir_se import IR_SE50_WEIGHTS
from inv3d.plugins.methods.encoders.branches import (
    Sided,
    begin_first,
    branch_terms,
    detached,
    make_network,
    novel_loss,
    plane_channels,
    uncertainty_of,
)
from inv3d.plugins.methods.encoders.learning import (
    adds,
    compare,
    optimizer_of,
    prefixed,
    start_trunks,
)
from inv3d.plugins.methods.encoders.options import TriPlaneNetConfig, TriPlaneNetTraining
from inv3d.plugins.methods.encoders.reading import read_networks
from inv3d.plugins.methods.encoders.views import Views, by_frame, encoded_views, fitted_views

FIRST, SECOND = "first", "second"
_AWAY = 0.6
# the papers compare pixels at this size
AT_256 = {"weight": 1.0, "resolution": 256}
LOSSES = {"mse": AT_256, "lpips": {"weight": 0.8, "net": "alex"}, "arcface": 0.1}


class TriPlaneNetMethod(Inverter[TriPlaneNetConfig], Trainable[TriPlaneNetTraining]):
    """Both branches in one pass; an editor that changes latents keeps the offset (eq. 16)."""

    name = "triplanenet"
    summary = "latents and an offset of the planes by one pass; trained for minihead"
    licence = "Apache-2.0"
    reference = "Bhattarai et al., TriPlaneNet: An Encoder for EG3D Inversion, WACV 2024"
    default_views: ClassVar[int] = 1
    instant: ClassVar[bool] = True
    Config = TriPlaneNetConfig
    Training: ClassVar[type[TrainingConfig]] = TriPlaneNetTraining
    weights = (IR_SE50_WEIGHTS,)
    presets: ClassVar[Presets] = {"version-1": {"branch": {"version": 1}}}
    training_presets: ClassVar[Presets] = {
        "paper": TriPlaneNetTraining.plainly(
            losses=LOSSES,
            second_losses={"mse": 0.0, "smooth_l1": AT_256},
            trunk=IR_SE50_WEIGHTS.name,
        ),
        "version-1": TriPlaneNetTraining.plainly(
            steps=1_000_000,
            batch=4,
            mirrored=0.0,
            losses=LOSSES,
            second_losses={"lpips": {"weight": 0.1, "net": "alex"}},
            trunk=IR_SE50_WEIGHTS.name,
        ),
    }
    _seen: Callable[[], Tensor] | None = None

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return the view nearest to the front, or all."""
        return fitted_views(self.config, cameras, count)

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Encode the front view, or all; what the latents lack is an offset of the planes."""
        (found,) = self.together([Single(self, generator, capture, context)])
        return found
        yield

    @classmethod
    def together(cls, singles: Sequence[Single]) -> Sequence[Inversion]:
        """Encode the views of all captures in one pass."""
        seen = [encoded_views(one) for one in singles]
        method, views = singles[0].method, Views.of(seen)
        assert isinstance(method, TriPlaneNetMethod)
        made = method.encode(singles[0].generator, views, singles)
        results = []
        for one, its, *rows in zip(singles, seen, *map(views.split, made), strict=True):
            ws, planes, coarse = rows
            assert isinstance(one.method, TriPlaneNetMethod)
            one.method._seen = partial(_seen, one.generator, its, ws, planes, coarse)
            more = {"offset": {PLANES: planes}, **by_frame(its)}
            results.append(one.method.inversion(one.generator, one.context, ws, its.camera, **more))
        return results

    @torch.no_grad()
    def encode(
        self, generator: Generator, views: Views, told: Sequence[Single]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents of N views, offsets of their planes, and pictures of the latents alone.

        Args:
            generator: that they're for.
            views: of one or several captures.
            told: their inversions, which are told of what is uncertain.
        """
        channels = plane_channels(generator)
        ready = read_networks(
            self.name,
            self.config,
            generator,
            [one.context for one in told],
            lambda options: make_network(options, generator.spec, channels),
            lambda path: self._published(path, generator.spec, channels),
        )
        network = ready.network
        assert isinstance(network, TriPlaneNet)
        network.precision = self.config.precision
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for images, camera in views.parts():
            first, offset = network(generator, images, camera, ready.average)
            found.append((first.scene.ws, offset[PLANES], first.rendered))
        ws, planes, coarse = (torch.cat(rows) for rows in zip(*found, strict=True))
        return ws, planes, coarse

    def _published(self, path: Path, spec: GeneratorSpec, channels: int) -> Published:
        return read_triplanenet(
            path,
            self.config.encoder,
            self.config.branch.trunk,
            plane_channels=channels,
            w_dim=spec.w_dim,
        )

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return the picture, what its latents make, and what the offset adds."""
        if self._seen is None:
            return ()
        labels = ("picture", "latents alone", "with the offset of the planes")
        return (Diagnostic("The two branches", self._seen(), labels),)

    def build(self, generator: Generator) -> nn.Module:
        """Return both branches."""
        return make_network(self.config, generator.spec, plane_channels(generator))

    def begin(
        self,
        network: nn.Module,
        generator: Generator,
        training: TriPlaneNetTraining,
        rng: torch.Generator,
    ) -> None:
        """Begin with a face recognition network's trunk, or with an encoder that was trained."""
        assert isinstance(network, TriPlaneNet)
        if training.second_from >= training.steps:
            warnings.warn(
                f"training.second_from is {training.second_from} of {training.steps} steps: the "
                "second branch is never trained; set it lower",
                stacklevel=2,
            )
        start_trunks([network.psp_encoder, network.triplanenet_encoder], training, rng)
        begin_first(network, generator, training)

    def optimizers(
        self, network: nn.Module, training: TriPlaneNetTraining
    ) -> Mapping[str, Optimizer]:
        """Return one for each branch."""
        assert isinstance(network, TriPlaneNet)
        return {
            FIRST: optimizer_of(network.psp_encoder.parameters(), training),
            SECOND: optimizer_of(network.triplanenet_encoder.parameters(), training),
        }

    def losses(self, lesson: Lesson[TriPlaneNetTraining], batch: Batch) -> Mapping[str, Metrics]:
        """Return the losses of the branches that are trained at this step."""
        training, generator, network = lesson.training, lesson.generator, lesson.network
        assert isinstance(network, TriPlaneNet)
        one, two = batch.step < training.first_until, batch.step >= training.second_from
        if network.training:
            network.psp_encoder.train(one)  # a branch that stays as it is normalises as later
        network.precision = training.precision
        sigma = uncertainty_of(training.confidence, generator.spec.resolution)
        sided, made = Sided(lesson, batch, sigma), dict[str, Metrics]()
        first_terms, second_terms = branch_terms(generator, training)
        with torch.set_grad_enabled(one):
            ws = network.latents(batch.capture.images, lesson.average)
            scene = generator.synthesize(ws)
            seen, mirrored = sided.render(scene)
            if one:
                found = sided.compared(seen, mirrored, first_terms)
                away = ws.new_zeros(()) if batch.ws is None else (ws - batch.ws).square().mean()
                made[FIRST] = adds(found, {"latent": (training.latent, away)})
        if two:
            look = FirstLook(detached(scene), seen.require("image"), _image(mirrored))
            made[SECOND] = self._second(lesson, batch, look, sided, second_terms)
        return made

    def _second(
        self,
        lesson: Lesson[TriPlaneNetTraining],
        batch: Batch,
        look: FirstLook,
        sided: Sided,
        terms: Mapping[str, LossTerm],
    ) -> Metrics:
        """Return the second branch's losses."""
        network, training = lesson.network, lesson.training
        assert isinstance(network, TriPlaneNet)
        if network.version == 2 and look.mirror_rendered is None:
            camera = sided.sides.mirrored
            with torch.no_grad():
                image = lesson.generator.render(look.scene, camera).require("image")
            look = FirstLook(look.scene, look.rendered, image)
        scene = look.scene + network.offset(batch.capture.images, look)
        made = sided.losses(scene, terms)
        rng = lesson.context.state.generators["cpu"]
        camera = self.cameras(lesson.generator.spec, training, len(scene), rng)
        other = novel_loss(lesson, batch, scene, camera, terms)
        return made if other is None else adds(made, {"novel": (training.novel, other)})

    @torch.no_grad()
    def check(self, lesson: Lesson[TriPlaneNetTraining], batch: Batch) -> Check:
        """Return both branches' losses of held-out pictures, and what they look like."""
        generator, network, capture = lesson.generator, lesson.network, batch.capture
        assert isinstance(network, TriPlaneNet)
        first, offset = network(generator, capture.images, capture.camera, lesson.average)
        scene = first.scene + offset
        image = generator.render(scene, capture.camera)
        _, terms = branch_terms(generator, lesson.training)
        seen = {"first": Rendering(image=first.rendered, ws=first.scene.ws), "both": image}
        values: Metrics = {}
        for name, rendering in seen.items():
            found = compare(lesson, terms, rendering, capture.images, masks=capture.masks)
            values |= prefixed(f"{name} ", found) | {f"{name} total": found["total"]}
        camera = generator.spec.camera.orbit(capture.camera.yaw + _AWAY, capture.camera.pitch)
        if batch.ws is not None:
            truth = generator.render(generator.synthesize(batch.ws), camera).require("image")
            for name, made in (("first", first.scene), ("both", scene)):
                away = compare(lesson, terms, generator.render(made, camera), truth)["total"]
                values[f"{name} from elsewhere"] = away
        pictures = {
            "first branch": first.rendered,
            "both branches": image.require("image"),
            "from elsewhere": generator.render(scene, camera).require("image"),
        }
        return Check(values, pictures)


@torch.no_grad()
def _seen(
    generator: Generator, views: Capture, ws: Tensor, planes: Tensor, coarse: Tensor
) -> Tensor:
    """Return the first view, what its latents make, and what the offset adds, [3, 3, H, W]."""
    scene = generator.synthesize(ws[:1]) + {PLANES: planes[:1]}
    whole = generator.render(scene, views.camera[0]).require("image")
    return torch.cat((views.images[:1], coarse[:1], whole)).cpu()


def _image(rendering: Rendering | None) -> Tensor | None:
    return None if rendering is None else rendering.require("image")
