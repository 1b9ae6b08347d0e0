"""The noise-map regulariser of the StyleGAN2 projector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering

SMALLEST = 8
_VIEWS = "/views"


def noise_regulariser(maps: Mapping[str, Tensor]) -> Tensor:
    """Return the squared autocorrelation of noise maps at a shift of one pixel, a scalar.

    Every map counts at its own size and at every halved size down to 8 rows.

    Args:
        maps: name -> [h, w]; usually square.
    """
    total = torch.zeros((), device=next(iter(maps.values())).device)
    for value in maps.values():
        noise = value[None, None]
        while True:
            for axis in (3, 2):
                total = total + (noise * noise.roll(1, axis)).mean().square()
            if noise.shape[2] <= SMALLEST:
                break
            noise = F.avg_pool2d(noise, 2)
    return total


class Noise(Loss[PluginConfig, dict[str, Tensor]]):
    """Keep optimised noise maps free of structure.

    The maps belong to the generator and not to a view: each of the N views gets an Nth of the
    regulariser, so that the sum over all views counts it once, however they are chunked. Where
    views have weights, as those that stand for others, N is their sum.
    """

    name = "noise"
    summary = "regulariser of optimised noise maps, shared out equally over the views"
    licence = "Apache-2.0"
    reference = "Analyzing and Improving the Image Quality of StyleGAN, appendix D, L_noise"
    needs = ()
    replayable = True

    def prepare(self, target: Target) -> dict[str, Tensor]:
        """Keep the live noise maps and the number of views.

        Raises:
            ConfigError: where no noise maps are optimised.
        """
        if not target.noise:
            raise ConfigError(
                f"loss {self.name}: no noise maps are optimised; switch them on in the method's "
                f"options or leave the loss out (--set losses.{self.name}=0)"
            )
        weights = target.weights
        views = torch.tensor(len(target.images)) if weights is None else weights.sum()
        return dict(target.noise) | {_VIEWS: views}

    def select(self, cache: dict[str, Tensor], views: slice) -> dict[str, Tensor]:
        """Return the cache whole: it isn't by view."""
        return cache

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:
        """Return each view's share, [N]."""
        maps = {name: value for name, value in cache.items() if name != _VIEWS}
        share = noise_regulariser(maps) / cache[_VIEWS]
        views = next(len(v) for v in (rendering.image, rendering.ws) if v is not None)
        return share.expand(views)
