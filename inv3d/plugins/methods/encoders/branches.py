"""What the trainings of networks with a second branch share: their losses, seen and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import UnsupportedError, WeightsError
from inv3d.core.fit.loop import Metrics
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.geometry.views import mirrored_camera
from inv3d.core.scene import Rendering, Scene
from inv3d.core.trained import Trained, check_alike, find_trained
from inv3d.core.training import Batch, Lesson
from inv3d.core.weights.tensors import load_state
from inv3d.nn.encoders.confidence import mirror_uncertainty
from inv3d.nn.encoders.published import read_confidence
from inv3d.nn.encoders.triplanenet import PLANES, TriPlaneNet
from inv3d.plugins.methods.encoders.learning import adds, compare, terms_of
from inv3d.plugins.methods.encoders.options import (
    BranchTraining,
    TriPlaneNetConfig,
    TriPlaneNetTraining,
)

T = TypeVar("T", bound=BranchTraining)
# losses of pixels -> how they are compared with a mirror image, which may be wrong in places
_PIXELS = {"mse": "squared", "l1": "smooth_l1", "smooth_l1": "smooth_l1"}
# methods whose encoders a first branch may begin with
_FIRST = ("e4e", "psp")


def make_network(config: TriPlaneNetConfig, spec: GeneratorSpec, channels: int) -> TriPlaneNet:
    """Return both branches for a generator with so many channels of planes, with fresh weights."""
    return TriPlaneNet(config.encoder, config.branch, spec.num_ws, spec.w_dim, channels)


@torch.no_grad()
def plane_channels(generator: Generator) -> int:
    """Return the channels of all planes (and slices) of a generator together.

    Raises:
        UnsupportedError: where it has no planes.
    """
    spec = generator.spec
    like = next(generator.parameters())
    parts = generator.synthesize(torch.zeros(1, spec.num_ws, spec.w_dim).to(like)).parts
    if PLANES not in parts:
        raise UnsupportedError(
            f"generator {spec.name}: its scenes have {', '.join(parts)}, but no planes that a "
            "second branch could change; take a generator of tri-planes or tri-grids, or method "
            "e4e"
        )
    planes = parts[PLANES]
    return planes.numel() // planes.shape[-1] ** 2


def begin_first(network: TriPlaneNet, generator: Generator, training: BranchTraining) -> None:
    """Give the first branch the encoder of an earlier training, where one is named.

    Raises:
        WeightsError: where there's none, or it's of another generator or kind or other sizes.
    """
    if training.first is None:
        return
    named = str(training.first)
    option = "--set training.first=PATH"
    if named in _FIRST and not training.first.exists():
        trained, place = find_trained(named, generator, None, option)
    else:
        trained, place = Trained.load(training.first), training.first
        trained.check(generator, place)
    if trained.plugin not in _FIRST:
        raise WeightsError(
            f"{place}: a training of {trained.plugin}, but a first branch begins with one of "
            f"{' or '.join(_FIRST)}; give another one for {option}"
        )
    load_state(network.psp_encoder, trained.tensors, place)
    check_alike(
        trained.options.get("encoder"), network.encoder.model_dump(mode="json"), "encoder", place
    )


@dataclass(frozen=True)
class Sides:
    """Cameras, pictures and the maps of their uncertainty: as they are, and mirrored.

    Attributes:
        camera: B cameras.
        images: [B, 3, H, W].
        mirrored: B cameras.
        flipped: [B, 3, H, W].
        uncertainty: [B, 1, h, w], 0 where the mirrored picture is surely right.
        masks: [B, 1, H, W] of the pictures as they are, or None.
    """

    camera: Camera
    images: Tensor
    mirrored: Camera
    flipped: Tensor
    uncertainty: Tensor
    masks: Tensor | None = None

    @property
    def cameras(self) -> Camera:
        """Two cameras a picture: its own and the mirrored one."""
        count = len(self.camera)
        both = Camera.cat([self.camera, self.mirrored])
        return both[torch.arange(2 * count).view(2, count).T.flatten().tolist()]


class Sided:
    """Losses of renderings from both sides.

    Args:
        lesson: of the training.
        batch: its pictures.
        uncertainty: of mirrored pictures, by picture and side; None where all places are sure.
    """

    def __init__(
        self,
        lesson: Lesson[T],
        batch: Batch,
        uncertainty: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        images, camera = batch.capture.images, batch.capture.camera
        sigma = torch.zeros_like(images[:, :1]) if uncertainty is None else uncertainty(images)
        self.lesson = lesson
        self.training: BranchTraining = lesson.training
        flipped, masks = images.flip(-1), batch.capture.masks
        self.sides = Sides(camera, images, mirrored_camera(camera), flipped, sigma, masks)

    def render(self, scene: Scene) -> tuple[Rendering, Rendering | None]:
        """Return what the pictures' cameras see, and the mirrored ones where that's wanted."""
        generator, sides = self.lesson.generator, self.sides
        if not self.training.mirrored:
            return generator.render(scene, sides.camera), None
        seen = generator.render(scene, sides.cameras)
        count = torch.arange(2 * len(scene))
        return seen[count[::2].tolist()], seen[count[1::2].tolist()]

    def losses(self, scene: Scene, terms: Mapping[str, LossTerm]) -> Metrics:
        """Return the losses of scenes against the pictures and their mirror images."""
        seen, mirrored = self.render(scene)
        return self.compared(seen, mirrored, terms)

    def compared(
        self, seen: Rendering, mirrored: Rendering | None, terms: Mapping[str, LossTerm]
    ) -> Metrics:
        """Return the losses of renderings from both sides."""
        sides = self.sides
        made = compare(self.lesson, terms, seen, sides.images, masks=sides.masks)
        if mirrored is None:
            return made
        maps = {"uncertainty": sides.uncertainty}
        masks = None if sides.masks is None else sides.masks.flip(-1)
        terms = _mirror_terms(terms)
        other = compare(self.lesson, terms, mirrored, sides.flipped, masks=masks, maps=maps)
        return adds(made, {"mirrored": (self.training.mirrored, other["total"])})


def _mirror_terms(terms: Mapping[str, LossTerm]) -> dict[str, LossTerm]:
    """Return losses in which those of pixels count less where a mirror image may be wrong."""
    made = {}
    for name, term in terms.items():
        form = _PIXELS.get(term.loss or name)
        if form is not None:
            given = {n: v for n, v in term.model_dump().items() if n != "mask"}
            term = LossTerm.model_validate(given | {"loss": "symmetry", "form": form})
        made[name] = term
    return made


def branch_terms(
    generator: Generator, training: TriPlaneNetTraining
) -> tuple[dict[str, LossTerm], dict[str, LossTerm]]:
    """Return the losses of the first branch and of the second one."""
    first = terms_of(generator, training.losses)
    return first, terms_of(generator, first, training.second_losses)


def novel_loss(
    lesson: Lesson[T],
    batch: Batch,
    scene: Scene,
    camera: Camera,
    terms: Mapping[str, LossTerm],
) -> Tensor | None:
    """Return how far scenes are from the truth from other cameras; None for photos."""
    if batch.ws is None or not lesson.training.novel:
        return None
    generator, camera = lesson.generator, camera.to(scene.ws.device, scene.ws.dtype)
    with torch.no_grad():
        truth = generator.render(generator.synthesize(batch.ws), camera).require("image")
    return compare(lesson, terms, generator.render(scene, camera), truth)["total"]


def uncertainty_of(path: Path | None, size: int) -> Callable[[Tensor], Tensor] | None:
    """Return what says where heads differ from their mirror images, or None without a file."""
    if path is None:
        return None
    network = _confidence(path)

    @torch.no_grad()
    def uncertain(images: Tensor) -> Tensor:
        return mirror_uncertainty(network.to(images.device), images, size)[:, None]

    return uncertain


_confidence = lru_cache(maxsize=1)(read_confidence)


def detached(scene: Scene) -> Scene:
    """Return scenes without their graph."""
    return scene.apply(torch.Tensor.detach)
