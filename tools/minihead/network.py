"""The architecture of minihead and how its weights are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inv3d.core.weights import write_tensors
from inv3d.nn.architecture import (
    Architecture,
    MappingOptions,
    RenderingOptions,
    SuperresolutionOptions,
)
from inv3d.nn.triplane_generator import TriplaneGenerator
from tools.minihead.cameras import RADIUS
from tools.minihead.layout import Z_DIM

ARCHITECTURE = Architecture(
    z_dim=Z_DIM,
    w_dim=128,
    c_dim=0,
    mapping=MappingOptions(layers=3, lr_multiplier=1.0, normalize_z=False),
    channels=(320, 256, 192, 96, 64, 40),
    use_noise=False,
    constant_maps=True,
    plane_resolution=128,
    plane_channels=16,
    plane_axes="corrected",
    decoder_hidden=48,
    decoder_channels=16,
    img_resolution=128,
    neural_rendering_resolution=48,
    avg_camera_radius=RADIUS,
    avg_camera_pivot=(0.0, 0.0, 0.0),
    rendering=RenderingOptions(
        ray_start=2.25,
        ray_end=3.15,
        box_warp=0.8,
        depth_resolution=16,
        depth_resolution_importance=16,
        coarse="guide",
        white_back=True,
        density_gain=2.0,
        density_scale=40.0,
    ),
    superresolution=SuperresolutionOptions(
        module="2X", num_fp16_res=0, channels=(48, 32), input_resolution=64
    ),
)


@torch.no_grad()
def set_mean_latent(network: TriplaneGenerator, samples: int = 20_000, seed: int = 7) -> None:
    """Store the mean of W, which truncation and inversion start from."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, Z_DIM, generator=rng)
    mapping = network.backbone.mapping
    mapping.w_avg.copy_(mapping(z.to(mapping.w_avg)).mean(0))


def write_weights(network: TriplaneGenerator, path: Path, training: dict[str, Any]) -> None:
    """Write half-precision weights with the architecture and how they were trained."""
    set_mean_latent(network)
    tensors = {name: value.half() for name, value in network.state_dict().items()}
    metadata = {
        "kind": "triplane",
        "name": "minihead",
        "licence": "Apache-2.0; trained on renderings of MakeHuman data (CC0)",
        "architecture": network.architecture.model_dump(),
        "training": training,
    }
    write_tensors(path, tensors, metadata)
