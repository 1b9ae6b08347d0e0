"""The pixels of a mirrored view, which count less where the picture isn't symmetric."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.nn.resample import shrink
from inv3d.plugins.losses.options import SymmetryConfig


class Symmetry(Loss[SymmetryConfig, dict[str, Tensor]]):
    """Difference from the flipped picture, divided by its uncertainty.

    A method looks from the mirrored camera and gives the flipped picture as the target, with its
    uncertainty as a map: 0 where the head is surely symmetric, about 1 where it isn't.
    """

    name = "symmetry"
    summary = "pixel difference from the mirrored picture, divided by a map of its uncertainty"
    licence = "Apache-2.0"
    reference = "TriPlaneNet (Bhattarai et al., WACV 2024), eq. 15; Wu et al., CVPR 2020, eq. 2"
    Config: ClassVar[type[PluginConfig]] = SymmetryConfig
    replayable = True

    def prepare(self, target: Target) -> dict[str, Tensor]:
        """Return the targets and what each of their pixels counts.

        Raises:
            InputError: where there's no such map.
            ConfigError: where its zeros would divide.
        """
        images = shrink(target.images, self.config.resolution)
        user = f"option 'uncertainty' of loss {self.name}"
        sigma = target.map(self.config.uncertainty, user)
        if sigma.shape[-2:] != images.shape[-2:]:
            sigma = F.interpolate(sigma, images.shape[-2:], mode="bilinear", align_corners=False)
        if not self.config.offset and not bool((sigma > 0).all()):
            raise ConfigError(
                f"option 'offset' of loss {self.name}: found 0, but the map "
                f"'{self.config.uncertainty}' has zeros, which can't divide; give a number above 0 "
                "(default 1)"
            )
        weight = 1 / (sigma + self.config.offset)
        if self.config.normalise:
            weight = weight / weight.mean((1, 2, 3), keepdim=True)
        return {"image": images, "weight": weight}

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:
        """Return the mean weighted difference of every view, [N]."""
        image = shrink(rendering.require("image"), self.config.resolution)
        error = self._difference(image, cache["image"]).mean(1, keepdim=True)
        return (error * cache["weight"]).mean((1, 2, 3))

    def _difference(self, image: Tensor, target: Tensor) -> Tensor:
        if self.config.form == "squared":
            return (image - target).square()
        return F.smooth_l1_loss(image, target, reduction="none", beta=self.config.beta)
