"""Cameras by looking: the view of the mean head that is most like the picture."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from inv3d import Camera, Estimator, Generator, PluginConfig, latent_statistics


class ZebraConfig(PluginConfig):
    """Options of the estimator."""

    angles: int = Field(15, ge=2, description="yaw angles that are tried, over the cameras' range")
    size: int = Field(16, ge=4, description="pixels a side that are compared")
    samples: int = Field(1000, ge=2, description="draws for the mean head")


class Zebra(Estimator[ZebraConfig]):
    """Renders the mean head from an arc of cameras and takes the nearest one."""

    name = "zebra"
    summary = "the view of the mean head that is most like the picture"
    api = "1.0"
    licence = "Apache-2.0"
    Config = ZebraConfig

    @torch.no_grad()
    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        """Return the camera of every picture.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            generator: whose mean head is looked at.
        """
        spec, options = generator.spec, self.config
        reach = torch.deg2rad(torch.tensor(min(spec.camera.yaw_deg, 90.0)))
        yaw = torch.linspace(-1, 1, options.angles) * reach
        cameras = spec.camera.orbit(yaw).to(images.device, generator.dtype)
        mean = latent_statistics(generator, options.samples).mean
        scene = generator.synthesize(mean.repeat(1, spec.num_ws, 1))
        seen = [generator.render(scene, cameras[[i]]).require("image") for i in range(len(yaw))]
        tried, wanted = small(torch.cat(seen), options.size), small(images, options.size)
        return cameras[torch.cdist(wanted.flatten(1), tried.flatten(1)).argmin(1)]


def small(images: Tensor, size: int) -> Tensor:
    """Return pictures at a size, without their mean brightness."""
    reduced = F.interpolate(images, (size, size), mode="area")
    return reduced - reduced.mean((1, 2, 3), keepdim=True)
