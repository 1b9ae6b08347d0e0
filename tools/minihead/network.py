"""The architectures of minihead and minihead360, and how their weights are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.config import merge
from inv3d.core.weights.tensors import load_state, read_tensors, write_tensors
from inv3d.nn.eg3d.architecture import (
    Architecture,
    MappingOptions,
    RenderingOptions,
    SuperresolutionOptions,
    TrigridArchitecture,
)
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.resample import resize
from inv3d.plugins.generators.minihead import MiniHead, MiniHead360
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


# Two slices lie where the surfaces of a head are, 0.2 to both sides of its middle.
GRID_ARCHITECTURE = TrigridArchitecture(
    **merge(
        ARCHITECTURE.model_dump(),
        {
            "plane_depth": 2,
            "base_resolution": 64,
            "decoder_activation": "sigmoid",
            "torgb_raw": False,
            "background": False,
            "camera_shift": False,
            "rendering": {"crop": None},
        },
    )
)
NETWORKS = ("minihead", "minihead360")
_BASE = "backbone.synthesis.base"
# Whatever has a row for every channel of the planes.
_PLANES = re.compile(r"backbone\.synthesis\.(b\d+\.torgb\.(weight|bias)|base)")


def build(name: str, seed: int) -> TriplaneGenerator:
    """Return one of the networks with random weights."""
    if name == "minihead":
        return MiniHead(ARCHITECTURE, seed)
    return MiniHead360(GRID_ARCHITECTURE, seed)


def warm_start(network: TriplaneGenerator, weights: Path) -> None:
    """Begin from weights that were written before; a tri-grid may begin from tri-planes."""
    tensors, metadata = read_tensors(weights)
    target = network.architecture
    depth = target.plane_depth if isinstance(target, TrigridArchitecture) else 1
    if depth != metadata["architecture"].get("plane_depth", 1):
        tensors = sliced(tensors, depth, target.base_resolution)
    load_state(network, tensors, weights)


def sliced(
    tensors: dict[str, Tensor], depth: int, base_resolution: int | None
) -> dict[str, Tensor]:
    """Return the weights of a tri-grid, all of whose slices are the given network's planes."""
    made = dict(tensors)
    for name, tensor in tensors.items():
        if _PLANES.fullmatch(name):
            made[name] = tensor.repeat_interleave(depth, 0)
    if base_resolution is not None:
        base = made[_BASE].float()
        made[_BASE] = resize(base[None], base_resolution)[0]
    return made


@torch.no_grad()
def set_mean_latent(network: TriplaneGenerator, samples: int = 20_000, seed: int = 7) -> None:
    """Store the mean of W, which truncation and inversion start from."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, Z_DIM, generator=rng)
    mapping = network.backbone.mapping
    mapping.w_avg.copy_(mapping(z.to(mapping.w_avg)).mean(0))


def write_weights(
    network: TriplaneGenerator, name: str, path: Path, training: dict[str, Any]
) -> None:
    """Write half-precision weights with the architecture and how they were trained."""
    set_mean_latent(network)
    tensors = {key: value.half() for key, value in network.state_dict().items()}
    metadata = {
        "kind": "triplane",
        "name": name,
        "licence": "Apache-2.0; trained on renderings of MakeHuman data (CC0)",
        "architecture": network.architecture.model_dump(),
        "training": training,
    }
    write_tensors(path, tensors, metadata)
