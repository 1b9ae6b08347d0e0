"""Losses on the depth: consistency with reference maps, and smoothness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.config import PluginConfig
from inv3d.core.errors import InputError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering


def depth_error(depth: Tensor, reference: Tensor) -> Tensor:
    """Return the mean squared depth difference of every view, [N], world units squared.

    Pixels where the reference is 0 (no surface) count as agreement.

    Args:
        depth: [N, 1, h, w], distance along the unit ray.
        reference: [N, 1, h, w] or [1, 1, h, w]; gradients don't reach it.
    """
    reference = reference.detach()
    difference = torch.where(reference > 0, depth - reference, 0.0)
    return difference.square().mean((1, 2, 3))


class DepthConsistency(Loss[PluginConfig, Tensor]):
    """Mean squared difference between the rendered depth and each view's reference depth.

    With the mean depth over all latents as reference this is eq. 6; with true depth maps it's
    depth supervision.
    """

    name = "depth_consistency"
    summary = "mean squared difference from the reference depth of each view, world units"
    licence = "Apache-2.0"
    reference = "Multi-view Inversion for 3D-aware GANs, eq. 6"
    needs = ("depth",)
    replayable = True

    def prepare(self, target: Target) -> Tensor:
        """Return the reference depth [N, 1, h, w].

        Raises:
            InputError: where there are no depth maps.
        """
        if target.depths is None:
            raise InputError(
                f"loss {self.name}: the targets have no depth maps; add a depth folder to the "
                f"input or leave the loss out (--set losses.{self.name}=0)"
            )
        return target.depths.detach()

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return the depth error of every view, [N]; references take the rendering's size."""
        depth = rendering.require("depth")
        if cache.shape[-2:] != depth.shape[-2:]:
            cache = F.interpolate(cache, depth.shape[-2:], mode="nearest-exact")
        return depth_error(depth, cache)


def depth_variation(depth: Tensor) -> Tensor:
    """Return the squared total variation of every depth map, [N], world units squared.

    The mean over all pixels but the last row and column of the squared differences to the
    neighbours on the right and below.

    Args:
        depth: [N, 1, h, w], at least two pixels a side.
    """
    corner = depth[..., :-1, :-1]
    across, down = depth[..., :-1, 1:] - corner, depth[..., 1:, :-1] - corner
    return (across.square() + down.square()).mean((1, 2, 3))


class DepthSmoothness(Loss[PluginConfig, Tensor]):
    """Squared total variation of the rendered depth; the targets don't matter."""

    name = "depth_smoothness"
    summary = "squared differences of neighbouring depths (total variation), world units"
    licence = "Apache-2.0"
    reference = "3D GAN Inversion with Pose Optimization (Ko et al., WACV 2023), sec. 3.4"
    needs = ("depth",)
    replayable = True

    def prepare(self, target: Target) -> Tensor:
        """Return nothing, once a view: [N, 0]."""
        return target.images.new_empty(len(target.images), 0)

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return the variation of every view, [N]."""
        return depth_variation(rendering.require("depth"))
