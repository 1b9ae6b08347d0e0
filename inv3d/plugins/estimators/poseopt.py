"""Pose-Opt's pose estimator: a residual network that was trained on a generator's own pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.errors import WeightsError
from inv3d.core.estimator import Estimator
from inv3d.core.fit.loop import TOTAL, Metrics
from inv3d.core.generator import Generator, GeneratorSpec
from inv3d.core.geometry.rotations import (
    POSE_NUMBERS,
    angle_between,
    numbers_of,
    rotation_of,
    rotation_of_angles,
    standing_camera,
)
from inv3d.core.geometry.views import flipped, mirrored_camera
from inv3d.core.plugin import Presets
from inv3d.core.trained import find_trained, is_trained
from inv3d.core.training import Batch, Check, Lesson, Trainable
from inv3d.core.training_options import TrainingConfig
from inv3d.core.weights.state_dict import read_state_dict
from inv3d.core.weights.tensors import make_filled
from inv3d.nn.pose_network import PoseNetwork
from inv3d.nn.pose_options import PoseNetworkOptions
from inv3d.plugins.estimators.poseopt_options import PoseEstimatorConfig, PoseTraining

OPTION = "the estimator's option weights=PATH"
_LAST = "fc3.weight"
# bounds the term of rotations on the diagonal, whose gradient would undo a training
_NEAR = 1e-3
# where tanh still has a slope
_WITHIN = 0.8

_OFFICIAL = PoseTraining.plainly(yaw_deg=18.0, pitch_deg=9.0, pool=0)


class PoseEstimator(Estimator[PoseEstimatorConfig], Trainable[PoseTraining]):
    """A network that tells the rotation; cameras stand on the sphere and look at the pivot."""

    name = "poseopt-estimator"
    summary = "cameras of pictures like a generator's own, by a network that is trained on them"
    licence = "Apache-2.0"
    reference = "Ko et al., 3D GAN Inversion with Pose Optimization, WACV 2023, sec. 3.2"
    Config = PoseEstimatorConfig
    Training: ClassVar[type[TrainingConfig]] = PoseTraining
    presets: ClassVar[Presets] = {
        "official": {"training": _OFFICIAL},
        "paper": {
            "training": {
                **_OFFICIAL,
                "rotation_form": "frobenius",
                "position_form": "distance",
                "diagonal": 0.0,
            }
        },
    }
    of_generator = True
    network: PoseNetwork | None

    def __init__(self, config: PoseEstimatorConfig) -> None:
        super().__init__(config)
        self.network = None

    def get_ready(self, generator: Generator) -> None:
        """Load the network for a generator.

        Raises:
            WeightsError: where there's none for it, or it can't be read.
        """
        path = self.config.weights
        if path is None or is_trained(path):
            trained, place = find_trained(self.name, generator, path, OPTION)
            sizes = PoseNetworkOptions.model_validate(trained.options.get("network", {}))
            self.network = make_filled(lambda: PoseNetwork(sizes), trained.tensors, place)
        else:
            self.network = published(path, self.config.network)
        self.network.to(generator.device, generator.dtype).eval()
        self.form = self.network.options.form

    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        """Return the camera of every picture; `get_ready` was called before.

        Raises:
            WeightsError: where it wasn't, and there's no network for the generator.
        """
        if self.network is None:
            self.get_ready(generator)
        assert self.network is not None
        return told(self.network, images, generator.spec)

    def build(self, generator: Generator) -> nn.Module:
        """Return an untrained network."""
        return PoseNetwork(self.config.network)

    def begin(
        self,
        network: nn.Module,
        generator: Generator,
        training: PoseTraining,
        rng: torch.Generator,
    ) -> None:
        """Let an untrained network tell the frontal camera, from where all others are near."""
        assert isinstance(network, PoseNetwork)
        front = CameraPrior(radius=1.0, focal=1.0).front().rotation
        numbers = numbers_of(front, network.options.form)[0]
        with torch.no_grad():
            network.fc3.bias.copy_((_WITHIN * numbers).atanh())

    def cameras(
        self, spec: GeneratorSpec, training: PoseTraining, count: int, rng: torch.Generator
    ) -> Camera:
        """Return cameras of generated pictures: yaw, pitch and roll evenly within their ranges."""
        prior = spec.camera
        limits = [
            prior.yaw_deg if training.yaw_deg is None else training.yaw_deg,
            prior.pitch_deg if training.pitch_deg is None else training.pitch_deg,
            training.roll_deg,
        ]
        draw = 2 * torch.rand(count, 3, generator=rng) - 1
        yaw, pitch, roll = (draw * torch.tensor(limits).deg2rad()).unbind(1)
        return standing_camera(rotation_of_angles(yaw, pitch, roll), prior)

    def losses(self, lesson: Lesson[PoseTraining], batch: Batch) -> Mapping[str, Metrics]:
        """Return rotation, position and diagonal term of a batch."""
        network, training = lesson.network, lesson.training
        assert isinstance(network, PoseNetwork)
        images, true = batch.capture.images, batch.capture.camera
        if training.both_sides:
            images, true = mirrored(images, true, batch.step)
        found = told(network, images, lesson.generator.spec)
        rotation = rotation_error(found.rotation, true.rotation, training.rotation_form).mean()
        apart = found.position - true.position
        position = (
            apart.square().mean()
            if training.position_form == "squared"
            else torch.linalg.vector_norm(apart, dim=1).mean()
        )
        diagonal = diagonal_term(found.rotation)
        # of the pictures of all processes and parts, which share the step
        weight = training.position / training.batch
        total = rotation + weight * position + training.diagonal * diagonal
        return {"network": {TOTAL: total, "rotation": rotation, "position": position}}

    def check(self, lesson: Lesson[PoseTraining], batch: Batch) -> Check:
        """Return the angles between true and told rotations of held-out pictures, degrees."""
        network = lesson.network
        assert isinstance(network, PoseNetwork)
        with torch.no_grad():
            found = told(network, batch.capture.images, lesson.generator.spec)
        return Check({"angle_deg": angles_deg(found, batch.capture.camera)})

    def latent_average(self, generator: Generator) -> Tensor:
        """Return nothing that counts: there are no latents."""
        return torch.zeros(1, generator.spec.w_dim)


def told(network: PoseNetwork, images: Tensor, spec: GeneratorSpec) -> Camera:
    """Return the cameras that a network tells of pictures, with their graph."""
    rotation = rotation_of(network.numbers(images), network.options.form)
    return standing_camera(rotation, spec.camera)


def mirrored(images: Tensor, camera: Camera, step: int) -> tuple[Tensor, Camera]:
    """Return pictures of which every second one is mirrored, with its camera; in turn by step."""
    which = torch.arange(len(images), device=images.device) % 2 == step % 2
    other = mirrored_camera(camera)
    cam2world = torch.where(which[:, None, None], other.cam2world, camera.cam2world)
    intrinsics = torch.where(which[:, None, None], other.intrinsics, camera.intrinsics)
    shown = torch.where(which[:, None, None, None], flipped(images), images)
    return shown, Camera(cam2world, intrinsics)


def rotation_error(found: Tensor, true: Tensor, form: Literal["geodesic", "frobenius"]) -> Tensor:
    """Return how far rotations [N, 3, 3] are apart, [N]; see `PoseTraining.rotation_form`."""
    if form == "geodesic":
        return angle_between(found, true)
    turn = true.transpose(1, 2) @ found - torch.eye(3).to(found)
    norm: Tensor = torch.linalg.matrix_norm(turn)
    return norm


def diagonal_term(rotation: Tensor) -> Tensor:
    """Return the mean of 1 / (|first entry| - 1)^2 of rotations, which keeps them turned."""
    apart = (rotation[:, 0, 0].abs() - 1).square() + _NEAR**2
    return (1 / apart).mean()


def angles_deg(found: Camera, true: Camera) -> Tensor:
    """Return the angles between rotations, [N] degrees."""
    return angle_between(found.rotation, true.rotation).rad2deg()


def published(path: Path, options: PoseNetworkOptions) -> PoseNetwork:
    """Return the network of a published file, whose form is told by its last layer.

    Raises:
        WeightsError: where it's missing, damaged, or of another network.
    """
    tensors = read_state_dict(path)
    count = len(tensors[_LAST]) if _LAST in tensors else 0
    form = next((name for name, k in POSE_NUMBERS.items() if k == count), None)
    if form is None:
        raise WeightsError(
            f"{path}: its last layer tells {count} numbers, expected 2, 4 or 6; give a pose "
            "estimator of Pose-Opt, or a file that '3dinv train poseopt-estimator' wrote"
        )
    sizes = options.model_copy(update={"form": form})
    return make_filled(lambda: PoseNetwork(sizes), tensors, path)
