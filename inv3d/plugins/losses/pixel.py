"""Pixel differences."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.config import PluginConfig
from inv3d.core.errors import InputError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.nn.resample import shrink


class PixelConfig(PluginConfig):
    """Options that all pixel losses share."""

    resolution: int | None = Field(
        None,
        ge=1,
        description="side in pixels that larger images are area-resized to before they are "
        "compared; full size if not given (paper: full size)",
    )
    mask: bool = Field(
        False,
        description="weigh every pixel with the target's mask; the mean is then over the mask "
        "(paper: off)",
    )


class _PixelLoss(Loss):
    """Mean over the elements of a view of some difference in [-1, 1] colours."""

    reference = "Multi-view Inversion for 3D-aware GANs, sec. 3.1 (0.1 * squared error)"
    Config: ClassVar[type[PluginConfig]] = PixelConfig
    config: PixelConfig

    @abstractmethod
    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the difference of every element, [N, 3, H, W]."""

    def prepare(self, target: Target) -> dict[str, Tensor]:
        """Resize the targets once.

        Raises:
            InputError: where masks are wanted and the capture has none.
        """
        cache = {"image": shrink(target.images, self.config.resolution)}
        if self.config.mask:
            if target.masks is None:
                raise InputError(
                    f"option 'mask' of loss {self.name}: the capture has no masks; "
                    "add a masks folder to the input or set it to false"
                )
            cache["mask"] = F.interpolate(target.masks, cache["image"].shape[-2:], mode="area")
        return cache

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Return the mean difference of every view, [N]."""
        image = shrink(rendering.require("image"), self.config.resolution)
        error = self.difference(image, cache["image"])
        if "mask" not in cache:
            return error.mean((1, 2, 3))
        mask = cache["mask"]
        total = (mask * error).sum((1, 2, 3))
        return total / (mask.sum((1, 2, 3)) * error.shape[1]).clamp_min(1e-6)


class MSE(_PixelLoss):
    """Mean squared error."""

    name = "mse"
    summary = "mean squared difference of the pixels, images in [-1, 1]"

    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        return (image - target).square()


class L1(_PixelLoss):
    """Mean absolute error."""

    name = "l1"
    summary = "mean absolute difference of the pixels, images in [-1, 1]"

    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        return (image - target).abs()


class SmoothL1Config(PixelConfig):
    """Options of the smooth L1 loss."""

    beta: float = Field(
        1.0, gt=0, description="difference in colour units below which the loss is quadratic"
    )


class SmoothL1(_PixelLoss):
    """Squared near zero, absolute beyond `beta` (Huber)."""

    name = "smooth_l1"
    summary = "smooth L1 (Huber) difference of the pixels, images in [-1, 1]"
    Config = SmoothL1Config
    config: SmoothL1Config

    def difference(self, image: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(image, target, reduction="none", beta=self.config.beta)
