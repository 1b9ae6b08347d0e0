"""The camera as something that changes: its numbers, or the network that tells them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.errors import ConfigError
from inv3d.core.estimator import AnyEstimator
from inv3d.core.fit.loop import Group
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.stages import trainable
from inv3d.core.generator import Generator
from inv3d.core.geometry.rotations import (
    PoseForm,
    numbers_of,
    rotation_of,
    standing_camera,
)
from inv3d.plugins.methods.poseopt.config import RATES, PoseOptions


class Pose(ABC):
    """Cameras of K starts, and what they change by.

    Attributes:
        shift: [K, 3], see `standing_camera`.
        form: of the numbers that they turn by.
    """

    form: PoseForm

    def __init__(self, prior: CameraPrior, options: PoseOptions, shift: Tensor) -> None:
        self.prior = prior
        self.form = options.form
        self.options = options
        self.shift = shift

    @abstractmethod
    def rotation(self) -> Tensor:
        """Return the cameras' rotations, [K, 3, 3], with their graph."""

    @abstractmethod
    def _turned_by(self) -> dict[str, Tensor]:
        """Return what the rotations change by."""

    def camera(self) -> Camera:
        """Return the K cameras, with their graph."""
        shift = self.shift if self.options.shift else None
        return standing_camera(self.rotation(), self.prior, shift)

    def variables(self) -> dict[str, Tensor]:
        """Return all that changes."""
        return self._turned_by() | ({"shift": self.shift} if self.options.shift else {})

    def groups(self) -> dict[str, Group]:
        """Return the same as groups of a stage."""
        options = self.options
        rate = options.lr or RATES[options.through][self.form]
        groups = {"pose": Group(self._turned_by(), constant(rate))}
        if options.shift:
            groups["shift"] = Group({"shift": self.shift}, constant(options.shift_lr))
        return groups


class Numbers(Pose):
    """Cameras that turn by numbers of their own.

    Attributes:
        numbers: [K, k], in the form of the options.
    """

    def __init__(self, camera: Camera, prior: CameraPrior, options: PoseOptions) -> None:
        super().__init__(prior, options, camera.position.new_zeros(len(camera), 3))
        self.numbers = numbers_of(camera.rotation, options.form).detach().clone()
        if options.shift:
            self.shift = shift_of(camera, self.rotation(), prior)

    def rotation(self) -> Tensor:
        """Return the cameras' rotations."""
        return rotation_of(self.numbers, self.form)

    def _turned_by(self) -> dict[str, Tensor]:
        return {"numbers": self.numbers}

    def only(self, start: int) -> Numbers:
        """Return one of the starts, to go on with."""
        pose = Numbers(self.camera()[start], self.prior, self.options)
        pose.numbers = self.numbers[start : start + 1].detach().clone()
        pose.shift = self.shift[start : start + 1].detach().clone()
        return pose


class Network(Pose):
    """A camera that turns as an estimator tells, whose weights change.

    Raises:
        ConfigError: where the estimator's answer doesn't follow from weights.
    """

    def __init__(
        self,
        estimator: AnyEstimator,
        picture: Tensor,
        generator: Generator,
        options: PoseOptions,
    ) -> None:
        super().__init__(generator.spec.camera, options, picture.new_zeros(1, 3))
        self.estimator = estimator
        self.picture = picture
        self.generator = generator
        self.form = estimator.form or options.form
        with trainable(self._turned_by()):
            follows = self.rotation().requires_grad
        if not follows:
            raise ConfigError(
                f"option 'pose.through': what estimator {estimator.name} tells doesn't follow from "
                "weights that could change; set pose.through=numbers, or name another estimator"
            )

    def rotation(self) -> Tensor:
        """Return the rotation that the estimator tells now."""
        return self.estimator.estimate(self.picture, self.generator).rotation

    def _turned_by(self) -> dict[str, Tensor]:
        return dict(self.estimator.named_parameters())


@torch.no_grad()
def shift_of(camera: Camera, rotation: Tensor, prior: CameraPrior) -> Tensor:
    """Return the shifts [K, 3] that put cameras with these rotations where cameras stand."""
    standing = standing_camera(rotation, prior).position
    apart = (standing - camera.position) / prior.radius
    return (rotation.transpose(1, 2) @ apart[..., None])[..., 0]


@torch.no_grad()
def described(camera: Camera) -> list[str]:
    """Say in words where cameras stand."""
    angles = zip(camera.yaw.rad2deg().tolist(), camera.pitch.rad2deg().tolist(), strict=True)
    return [f"yaw {yaw:+.1f}, pitch {pitch:+.1f} deg" for yaw, pitch in angles]
