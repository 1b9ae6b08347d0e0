"""The contract of an estimator: pictures go in, the cameras that took them come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig, build_config
from inv3d.core.device import as_device
from inv3d.core.errors import (
    ConfigError,
    ContractError,
    PluginError,
    UnsupportedError,
    WeightsError,
)
from inv3d.core.generator import Generator
from inv3d.core.geometry.rotations import PoseForm
from inv3d.core.plugin import Plugin
from inv3d.core.registry.discovery import registry

C = TypeVar("C", bound=PluginConfig)
AUTO = "auto"


class Estimator(nn.Module, Plugin, ABC, Generic[C]):
    """Tells from where pictures of a head were taken, in a generator's coordinates.

    Its networks are parts of it, so that a method can go on optimising their parameters.

    Attributes:
        of_generator: whether its networks are trained for one generator. Where the user names no
            estimator, such ones are asked before those that serve any.
        form: of the numbers that its network tells rotations by, or None where it tells none.
    """

    of_generator: ClassVar[bool] = False
    form: PoseForm | None = None
    config: C

    @classmethod
    def create(cls, config: C) -> Self:
        """Build the estimator with its networks, on the CPU."""
        return cls(config)

    def __init__(self, config: C) -> None:
        super().__init__()
        self.config = config

    def get_ready(self, generator: Generator) -> None:
        """Load what it needs for a generator, before it estimates; nothing unless overridden.

        Raises:
            WeightsError: where there are no networks for this generator, or those that are named
                were trained for another one.
            UnsupportedError: where it can't tell the cameras of such pictures.
        """
        return None

    @abstractmethod
    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        """Return the camera of every picture; gradients reach the networks where they're wanted.

        Args:
            images: [N, 3, H, W] in [-1, 1], on the estimator's device, cropped as the generator's
                training pictures are.
            generator: whose coordinates, focal length and radius the cameras have.

        Returns:
            N cameras.
        """


AnyEstimator = Estimator[Any]


def load_estimator(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    device: torch.device | str = "cpu",
    generator: Generator | None = None,
) -> AnyEstimator:
    """Build an estimator by name: frozen, in eval mode, on a device.

    Args:
        name: of the plugin.
        options: nested plain values; its defaults if None.
        device: where it goes; a name means what `--device` means.
        generator: that it gets ready for; if None the caller does that.

    Raises:
        PluginError: where the name is unknown.
        ConfigError: where an option is unknown or out of range, or there's no such device.
        WeightsError: where a weight file that it needs is missing, damaged, or for another
            generator.
        UnsupportedError: where it can't serve the generator.
    """
    place = as_device(device)
    kind: type[AnyEstimator] = registry().load("estimators", name)
    estimator = kind.create(build_config(kind.Config, options or {}, f"estimator {name}"))
    if not isinstance(estimator, Estimator):
        raise ContractError(
            f"estimator {name}: its create() returned a {type(estimator).__name__}, expected an "
            "Estimator; report it to the plugin's author"
        )
    if generator is not None:
        estimator.get_ready(generator)
    return estimator.to(place).eval().requires_grad_(False)


def find_estimator(
    generator: Generator, user: str, *, device: torch.device | str = "cpu"
) -> AnyEstimator:
    """Return an installed estimator that serves a generator: first those trained for one.

    Args:
        generator: whose pictures they are.
        user: who wants one, for the message, such as "--camera auto".
        device: where it goes; a name means what `--device` means.

    Raises:
        ConfigError: where there's no such device.
        UnsupportedError: where there's none; it says why each one doesn't serve.
    """
    place = as_device(device)
    reasons: list[str] = []
    loaded: list[tuple[bool, str]] = []
    for record in registry().of_kind("estimators"):
        try:
            kind: type[AnyEstimator] = registry().load("estimators", record.name)
            loaded.append((not kind.of_generator, record.name))
        except PluginError as error:
            reasons.append(str(error))
    for _, name in sorted(loaded):
        try:
            return load_estimator(name, device=place, generator=generator)
        except (WeightsError, UnsupportedError, ConfigError) as error:
            reasons.append(str(error))
    raise UnsupportedError(
        f"{user}: no pose estimator serves generator {generator.spec.name} "
        f"({'; '.join(reasons) or 'none is installed'})"
    )
