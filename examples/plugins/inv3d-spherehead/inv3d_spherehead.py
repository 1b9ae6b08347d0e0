"""A relative of PanoHead: one map of the backbone, split into three planes and a sphere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d import (
    Architecture,
    CameraPrior,
    ComputeOptions,
    Scene,
    TriplaneGenerator,
    WeightsError,
    fingerprint,
    load_state,
    read_network,
    sample_planes,
    spec_of,
)

MAPS = 4
CAMERA = CameraPrior(2.7, 4.2647, yaw_deg=180.0, pitch_deg=25.0)
# of the networks that are made without a file
SIZES = {
    "z_dim": 16,
    "w_dim": 24,
    "channels": (16, 16, 12, 8),
    "plane_resolution": 32,
    "plane_channels": 6,
    "decoder_hidden": 16,
    "decoder_channels": 8,
    "img_resolution": 64,
    "neural_rendering_resolution": 24,
    "rendering": {"depth_resolution": 16, "depth_resolution_importance": 0},
    "superresolution": {"module": "2X", "input_resolution": 32, "channels": (8, 6)},
}


class SphereArchitecture(Architecture):
    """The architecture, with a map more than EG3D's."""

    @property
    def backbone_channels(self) -> int:
        """Of the backbone's one map."""
        return MAPS * self.plane_channels


class SphereHeadConfig(ComputeOptions):
    """How it's rendered, and its random weights."""

    seed: int = Field(0, ge=0, description="of the random weights, where there's no file")
    rays: int = Field(24, ge=4, description="rays a side")


class Sphere(nn.Module):
    """A map around the middle, sampled by the direction of a point, fading in towards its surface.

    Attributes:
        radius: of the sphere, world units.
        gain: of its features.
    """

    radius: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("radius", torch.tensor(0.35))
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor, points: Tensor) -> Tensor:
        """Return features [B, P, C] of a map [B, C, H, W] at points [B, P, 3]."""
        distance = points.norm(dim=-1, keepdim=True).clamp_min(1e-4)
        x, y, z = (points / distance).unbind(-1)
        across = torch.atan2(x, z + 1e-6) / math.pi
        down = torch.asin(y.clamp(-0.999, 0.999)) / (math.pi / 2)
        wrapped = torch.cat([image[..., -1:], image, image[..., :1]], -1)
        width = image.shape[-1]
        grid = torch.stack([across * width / (width + 2), down], -1)[:, None]
        found = F.grid_sample(wrapped, grid, padding_mode="border", align_corners=False)
        near = torch.exp(-(((distance - self.radius) / 0.2) ** 2))
        return self.gain * near * found[:, :, 0].transpose(1, 2)


class SphereHead(TriplaneGenerator):
    """Three planes and a sphere."""

    name = "spherehead"
    summary = "a relative of PanoHead: one map split into three planes and a sphere"
    api = "1.0"
    licence = "Apache-2.0"
    reference = "after An et al., PanoHead, CVPR 2023, and Li et al., SphereHead, ECCV 2024"
    Config = SphereHeadConfig
    architecture_type = SphereArchitecture
    signature = ("sphere.radius", "sphere.gain")
    rays_option = "rays"

    @classmethod
    def create(cls, config: Any, weights: Path | None = None) -> SphereHead:
        """Build the network of a file, or one with random weights."""
        if weights is None:
            sizes = {**SIZES, "neural_rendering_resolution": config.rays}
            generator = cls(SphereArchitecture.model_validate(sizes), config.seed)
        else:
            network = read_network(weights)
            missing = [name for name in cls.signature if name not in network.tensors]
            if missing:
                raise WeightsError(
                    f"{weights}: has no {missing[0]}, so it's no network of spherehead"
                )
            sizes = sizes_of(network.tensors, weights)
            sizes["neural_rendering_resolution"] = config.rays
            generator = cls(SphereArchitecture.model_validate(sizes))
            load_state(generator, network.used, weights)
        config.apply(generator)
        generator.config = config
        generator.spec = spec_of(
            generator,
            name=cls.name,
            camera=CAMERA,
            domain="human heads",
            fingerprint=fingerprint({"maps": MAPS}, generator.state_dict()),
            losses={"mse": 1.0},
            metrics={"perceptual": "l1"},
        )
        return generator.eval().requires_grad_(False)

    def _build(self) -> None:
        super()._build()
        self.sphere = Sphere()

    def synthesize(self, ws: Tensor) -> Scene:
        """Split the map: planes [B, 3, C, H, W] and sphere [B, C, H, W]."""
        maps = self.backbone.synthesis(ws)
        maps = maps.unflatten(1, (MAPS, -1))
        return Scene({"planes": maps[:, :3], "sphere": maps[:, 3]}, ws)

    def field(self, scene: Scene) -> Any:
        """Features are the planes' mean and the sphere's."""
        axes, box = self.architecture.plane_axes, self.architecture.rendering.box_warp

        def evaluate(points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
            features = sample_planes(scene.parts["planes"], points, axes, box)
            return self.decoder(features + self.sphere(scene.parts["sphere"], points), colour)

        return evaluate


def sizes_of(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return the architecture that the shapes of a network tell.

    Raises:
        WeightsError: where a tensor that tells it is missing.
    """
    try:
        sizes = [4 << i for i in range(12)]
        blocks = [n for n in sizes if f"backbone.synthesis.b{n}.conv1.weight" in tensors]
        layers = [tensors[f"backbone.synthesis.b{n}.conv1.weight"] for n in blocks]
        last = tensors[f"backbone.synthesis.b{blocks[-1]}.torgb.weight"]
        width = int(tensors["backbone.mapping.w_avg"].shape[0])
        hidden, decoded = (tensors[f"decoder.net.{i}.weight"] for i in (0, 2))
        return {
            **SIZES,
            "z_dim": int(tensors["backbone.mapping.fc0.weight"].shape[1]) - width,
            "w_dim": width,
            "channels": tuple(int(layer.shape[0]) for layer in layers),
            "plane_resolution": blocks[-1],
            "plane_channels": int(last.shape[0]) // MAPS,
            "decoder_hidden": int(hidden.shape[0]),
            "decoder_channels": int(decoded.shape[0]) - 1,
        }
    except (KeyError, IndexError) as error:
        raise WeightsError(f"{path}: has no {error}; give a network of spherehead") from None
