"""The contract of a loss: a difference between renderings and targets, one number a view."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig, build_config
from inv3d.core.device import as_device
from inv3d.core.errors import ContractError, InputError
from inv3d.core.plugin import Plugin
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import OutputName, Rendering
from inv3d.core.warm import kept, version_of
from inv3d.core.weights.known import resolve_path

MASK = "mask"
WEIGHTS = "weights"
C = TypeVar("C", bound=PluginConfig)
K = TypeVar("K", Tensor, dict[str, Tensor])


@dataclass(frozen=True)
class Target:
    """What a loss compares with, for N views.

    Attributes:
        images: [N, 3, H, W] in [-1, 1], at the generator's resolution.
        masks: [N, 1, H, W] in [0, 1], or None.
        depths: [N, 1, h, w] distance along the unit ray, world units, or None.
        anchor: [num_ws, w_dim] (or [1, w_dim]), the latent that latent losses pull towards.
        noise: the generator's noise maps, where they are optimised.
        weights: [N], how much each view counts; all alike if None.
        maps: name -> [N, 1, h, w] in [0, 1], such as visibility or confidence; the target's own
            masks are the map "mask".
        rays: a side, of the raw images that are compared where a loss looks at them.
        mean: as `anchor`, for losses that pull towards the mean of W; the anchor if None.
    """

    images: Tensor
    masks: Tensor | None = None
    depths: Tensor | None = None
    anchor: Tensor | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Tensor | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    rays: int | None = None
    mean: Tensor | None = None

    def map(self, name: str, user: str) -> Tensor:
        """Return a map by name, [N, 1, h, w].

        Raises:
            InputError: where there's none, naming who asked for it.
        """
        maps = dict(self.maps) | ({} if self.masks is None else {MASK: self.masks})
        if name in maps:
            return maps[name]
        if name == MASK:
            raise InputError(
                f"{user}: the capture has no masks; add a masks folder to the input, or leave "
                "them out"
            )
        known = ", ".join(sorted(maps)) or "none"
        raise InputError(f"{user}: this method has no map '{name}' (its maps: {known})")

    def raw(self) -> Target:
        """Return the target of the raw images, before super-resolution: averaged down.

        Raises:
            ValueError: where the size isn't known.
        """
        if self.rays is None:
            raise ValueError("the target of raw images needs `rays`, their pixels a side")
        size = (self.rays, self.rays)
        images = F.interpolate(self.images, size, mode="area")
        masks = None if self.masks is None else F.interpolate(self.masks, size, mode="area")
        return replace(self, images=images, masks=masks)


class Loss(nn.Module, Plugin, ABC, Generic[C, K]):
    """A difference between renderings and targets, one number a view.

    `Loss[MyConfig, Tensor]` says the type of its options and of what it prepares: a tensor, or a
    dict of tensors.

    Attributes:
        needs: the fields of a rendering that it reads.
        replayable: whether `forward` depends on its arguments and its networks alone, so that on a
            GPU a step may be recorded once and replayed; computed every time otherwise. A subclass
            says it anew.
        higher_is_better: as a metric, as a cosine; otherwise lower is.
        label: title of its column, where it serves as a metric; its name unless given.
        digits: after the point, in tables.
        unit: in words, of its numbers.
    """

    needs: ClassVar[tuple[OutputName, ...]] = ("image",)
    replayable: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = False
    label: ClassVar[str] = ""
    digits: ClassVar[int] = 4
    unit: ClassVar[str] = ""
    config: C

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.replayable = cls.__dict__.get("replayable", False)

    @classmethod
    def create(cls, config: C) -> Self:
        """Build the loss with its networks, on the CPU."""
        return cls(config)

    def __init__(self, config: C) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def prepare(self, target: Target) -> K:
        """Compute once what the loss needs of the targets; leading dimension N views."""

    @abstractmethod
    def forward(self, rendering: Rendering, cache: K) -> Tensor:
        """Return the loss of every view, [N]."""

    def select(self, cache: K, views: slice) -> K:
        """Return the cache of some of the views; losses whose cache isn't by view override it."""
        if isinstance(cache, Tensor):
            return cache[views]
        return {name: value[views] for name, value in cache.items()}


AnyLoss = Loss[Any, Any]


class WarpLoss(Loss[C, K]):
    """A loss that also compares targets with pictures that were taken from elsewhere.

    As a loss like any other it compares pictures of the same view; a method that knows another
    picture of the scene calls `carried`, and the gradient reaches depth and cameras.
    """

    @abstractmethod
    def carried(
        self, camera: Camera, depth: Tensor, pictures: Tensor, other: Camera, cache: K
    ) -> Tensor:
        """Return the difference of targets and other pictures, seen from the targets' cameras, [N].

        Args:
            camera: N cameras, of the targets.
            depth: [N, 1, h, w] that they see, distance along the unit ray, world units.
            pictures: [N, 3, H, W] in [-1, 1], of the same scenes.
            other: N cameras or one, of these pictures.
            cache: that `prepare` returned for the targets.
        """


def loss_config(
    kind: type[AnyLoss], options: Mapping[str, Any], owner: str, beside: Iterable[str] = ()
) -> PluginConfig:
    """Read a loss's options; `weights` may be the bare name of a file that the loss knows.

    Args:
        kind: class of the loss.
        options: nested plain values.
        owner: whose options they are, for messages.
        beside: further names that may stand there, for suggestions.

    Raises:
        ConfigError: where an option is unknown or out of range.
        WeightsError: where a known file is named and it's nowhere.
    """
    config = build_config(kind.Config, options, owner, beside)
    given = getattr(config, WEIGHTS, None)
    if not isinstance(given, Path):
        return config
    found = resolve_path(given, kind.weights, owner)
    return config.model_copy(update={WEIGHTS: given if found == given.absolute() else found})


def load_loss(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    device: torch.device | str = "cpu",
    owner: str = "",
) -> AnyLoss:
    """Build a loss by name: frozen, in eval mode, on a device.

    Args:
        name: of the plugin.
        options: nested plain values; its defaults if None.
        device: where it goes; a name means what `--device` means.
        owner: whose options they are, for messages; "loss NAME" unless given.

    Raises:
        PluginError: where the name is unknown.
        ConfigError: where an option is unknown or out of range, or there's no such device.
        WeightsError: where a weight file that it needs is missing or damaged.

    Example:
        >>> import inv3d, torch
        >>> loss = inv3d.load_loss("mse", {"resolution": 16})
        >>> cache = loss.prepare(inv3d.Target(torch.zeros(2, 3, 32, 32)))
        >>> loss(inv3d.Rendering(image=torch.ones(2, 3, 32, 32)), cache)
        tensor([1., 1.])
    """
    place = as_device(device)
    kind: type[AnyLoss] = registry().load("losses", name)
    config = loss_config(kind, options or {}, owner or f"loss {name}")

    def make() -> AnyLoss:
        made = kind.create(config)
        if not isinstance(made, Loss):
            raise ContractError(
                f"loss {name}: its create() returned a {type(made).__name__}, expected a Loss; "
                "report it to the plugin's author"
            )
        return made.to(place).eval().requires_grad_(False)

    weights = getattr(config, WEIGHTS, None)
    version = version_of(weights if isinstance(weights, Path) else None)
    return kept(("loss", kind, config.model_dump_json(), version, str(place)), make)
