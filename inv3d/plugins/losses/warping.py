"""Features of a picture from elsewhere, carried to the target's view through the scene's depth."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.geometry.depth import depth_points
from inv3d.core.geometry.warp import look_up
from inv3d.core.loss import AnyLoss, Target, WarpLoss
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.features import features_of, load_features, sized
from inv3d.plugins.losses.options import WarpingConfig


class Warping(WarpLoss[WarpingConfig, Tensor]):
    """Mean absolute difference of features, where the scene is nearer than its mean depth.

    Pixels further away count as agreement: the mean is over all.
    """

    name = "warping"
    summary = "difference from a picture of another view, carried over by depth, in features"
    licence = "Apache-2.0; features as the loss that tells them"
    reference = "3D GAN Inversion with Pose Optimization (Ko et al., WACV 2023), sec. 3.3"
    Config = WarpingConfig
    replayable = True

    def __init__(self, config: WarpingConfig, network: AnyLoss) -> None:
        super().__init__(config)
        self.network = network

    @classmethod
    def create(cls, config: WarpingConfig) -> Self:
        """Build the loss with that whose features it compares.

        Raises:
            ConfigError: where that loss tells no features.
            WeightsError: where its weights can't be had.
        """
        return cls(config, load_features(config, cls.name))

    def features(self, images: Tensor) -> Tensor:
        """Return the layer's features [N, C, h, w] of images [N, 3, H, W] in [-1, 1].

        Raises:
            ConfigError: where there's no such layer.
        """
        return features_of(self.network, self.config, self.name, images)

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' features."""
        return self.features(target.images)

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return the difference of pictures of the same view, [N]."""
        found = self.features(rendering.require("image"))
        return (found - cache).abs().mean((1, 2, 3))

    def carried(
        self, camera: Camera, depth: Tensor, pictures: Tensor, other: Camera, cache: Tensor
    ) -> Tensor:
        """Return the difference of the pictures' features, carried to the cameras, [N]."""
        size = tuple(cache.shape[-2:])
        uv, _ = other.project(depth_points(camera, sized(depth, size)))
        found = look_up(self.features(pictures), uv.reshape(len(uv), *size, 2))
        difference = (found - cache).abs()
        if self.config.near:
            near = depth < depth.mean((1, 2, 3), keepdim=True)
            difference = difference * sized(near.to(depth), size)
        return difference.mean((1, 2, 3))
