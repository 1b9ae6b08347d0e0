"""Pixel differences."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

from torch import Tensor
from torch.nn import functional as F

from inv3d.core.config import PluginConfig
from inv3d.core.loss import MASK, Loss, Target
from inv3d.core.scene import Rendering
from inv3d.nn.resample import shrink
from inv3d.plugins.losses.options import PixelConfig, SmoothL1Config

C = TypeVar("C", bound=PixelConfig)


class _PixelLoss(Loss[C, dict[str, Tensor]]):
    """Mean over the elements of a view of some difference in [-1, 1] colours."""

    reference = "Multi-view Inversion for 3D-aware GANs, sec. 3.1 (0.1 * squared error)"
    Config: ClassVar[type[PluginConfig]] = PixelConfig

    @abstractmethod
    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the difference of every element, [N, 3, H, W]."""

    def prepare(self, target: Target) -> dict[str, Tensor]:
        """Resize the targets once.

        Raises:
            InputError: where masks are wanted and there are none, or a map of another name.
        """
        cache = {"image": shrink(target.images, self.config.resolution)}
        if self.config.mask:
            name = MASK if self.config.mask is True else self.config.mask
            weights = target.map(name, f"option 'mask' of loss {self.name}")
            cache["mask"] = F.interpolate(weights, cache["image"].shape[-2:], mode="area")
        return cache

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:
        """Return the mean difference of every view, [N]."""
        image = shrink(rendering.require("image"), self.config.resolution)
        error = self.difference(image, cache["image"])
        if "mask" not in cache:
            return error.mean((1, 2, 3))
        mask = cache["mask"]
        total = (mask * error).sum((1, 2, 3))
        return total / (mask.sum((1, 2, 3)) * error.shape[1]).clamp_min(1e-6)


class MSE(_PixelLoss[PixelConfig]):
    """Mean squared error."""

    name = "mse"
    summary = "mean squared difference of the pixels, images in [-1, 1]"
    licence = "Apache-2.0"
    replayable = True

    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        return (image - target).square()


class L1(_PixelLoss[PixelConfig]):
    """Mean absolute error."""

    name = "l1"
    summary = "mean absolute difference of the pixels, images in [-1, 1]"
    licence = "Apache-2.0"
    replayable = True

    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        return (image - target).abs()


class SmoothL1(_PixelLoss[SmoothL1Config]):
    """Squared near zero, absolute beyond `beta` (Huber)."""

    name = "smooth_l1"
    summary = "smooth L1 (Huber) difference of the pixels, images in [-1, 1]"
    licence = "Apache-2.0"
    Config = SmoothL1Config
    replayable = True

    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(image, target, reduction="none", beta=self.config.beta)
