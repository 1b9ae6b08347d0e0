"""Pulls on the latent: the mean squared distance from an anchor."""

from __future__ import annotations

from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering


class _Pull(Loss[PluginConfig, Tensor]):
    """Mean over num_ws * w_dim of (w - anchor)^2, once for every view."""

    needs = ()

    def prepare(self, target: Target) -> Tensor:
        """Return the anchor [num_ws, w_dim].

        Raises:
            ConfigError: where the method sets no anchor.
        """
        anchor = self.towards(target)
        if anchor is None:
            raise ConfigError(
                f"loss {self.name}: this method or stage has no latent to pull towards; "
                f"leave it out (--set losses.{self.name}=0)"
            )
        return anchor

    def towards(self, target: Target) -> Tensor | None:
        """Return the latent that it pulls towards, if there's one."""
        return target.anchor

    def select(self, cache: Tensor, views: slice) -> Tensor:
        """Return the anchor: it's the same for every view."""
        return cache

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return the squared distance of every view's latent, [N]."""
        return (rendering.latent() - cache).square().mean((1, 2))


class WNorm(_Pull):
    """Pull towards the mean latent.

    It stands inside the sum over views of eq. 3, so N views count it N times.
    """

    name = "w_norm"
    summary = "mean squared distance of the latent from the mean latent w_avg, once a view"
    licence = "Apache-2.0"
    reference = "Multi-view Inversion for 3D-aware GANs, eq. 3, term L_r"
    replayable = True

    def towards(self, target: Target) -> Tensor | None:
        """Return the mean of W, or else the anchor."""
        return target.anchor if target.mean is None else target.mean


class WDist(_Pull):
    """Pull towards the start latent.

    Eq. 5 prints the squared norm; the official code takes the mean over all numbers with weight
    1, which is num_ws * w_dim times weaker. The mean is what is computed here.
    """

    name = "w_dist"
    summary = "mean squared distance of each latent from the common start latent"
    licence = "Apache-2.0"
    reference = "Multi-view Inversion for 3D-aware GANs, eq. 5"
    replayable = True
