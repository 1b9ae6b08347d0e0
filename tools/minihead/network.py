"""The architecture of the embedded generator, and how its weights are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inv3d.core.weights.tensors import load_state, read_tensors, write_tensors
from inv3d.nn.eg3d.architecture import (
    MappingOptions,
    SuperresolutionOptions,
    TrigridArchitecture,
    TrigridRenderingOptions,
)
from inv3d.nn.known_factors import KnownFactors
from inv3d.plugins.generators.minihead import MiniHead
from tools.minihead.cameras import RADIUS
from tools.minihead.factors import FACTORS, RAMPS, fit_known_factors
from tools.minihead.layout import Z_DIM

NAME = "minihead"
LEARNED = 128  # numbers of w beside the known factors
ARCHITECTURE = TrigridArchitecture(
    z_dim=Z_DIM,
    w_dim=LEARNED + FACTORS,
    c_dim=0,
    mapping=MappingOptions(
        layers=3,
        layer_features=LEARNED,
        lr_multiplier=1.0,
        normalize_z=False,
        factors=FACTORS,
        factor_ramps=RAMPS,
    ),
    channels=(320, 256, 192, 96, 64, 40),
    use_noise=False,
    constant_maps=True,
    base_resolution=64,
    plane_resolution=128,
    plane_channels=16,
    plane_axes="corrected",
    # Two slices lie where the surfaces of a head are, 0.2 to both sides of its middle.
    plane_depth=2,
    decoder_hidden=48,
    decoder_channels=16,
    decoder_activation="sigmoid",
    torgb_raw=False,
    background=False,
    camera_shift=False,
    img_resolution=128,
    neural_rendering_resolution=64,
    avg_camera_radius=RADIUS,
    avg_camera_pivot=(0.0, 0.0, 0.0),
    rendering=TrigridRenderingOptions(
        ray_start=2.25,
        ray_end=3.15,
        box_warp=0.8,
        depth_resolution=16,
        depth_resolution_importance=16,
        coarse="guide",
        white_back=True,
        # Density rises over some 0.03 units: outlines move a little at a time and can be learned.
        density_gain=0.5,
        density_scale=40.0,
        crop=None,
    ),
    superresolution=SuperresolutionOptions(
        module="2X", num_fp16_res=0, channels=(48, 32), input_resolution=64, margin=2
    ),
)


def build(seed: int) -> MiniHead:
    """Return the network with random weights and no factors yet."""
    return MiniHead(ARCHITECTURE, seed)


def with_factors(network: MiniHead, steps: int = 3000) -> None:
    """Fit the layer of known factors."""
    known = network.backbone.mapping.known
    assert known is not None
    fitted = KnownFactors(Z_DIM, RAMPS, FACTORS)
    fit_known_factors(fitted, steps)
    known.load_state_dict(fitted.state_dict())


def warm_start(network: MiniHead, weights: Path) -> None:
    """Begin from weights that were written before."""
    tensors, _ = read_tensors(weights)
    load_state(network, {name: tensor.float() for name, tensor in tensors.items()}, weights)


@torch.no_grad()
def set_mean_latent(network: MiniHead, samples: int = 20_000, seed: int = 7) -> None:
    """Store the mean of W, which truncation and inversion start from."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, Z_DIM, generator=rng)
    mapping = network.backbone.mapping
    mapping.w_avg.copy_(mapping(z.to(mapping.w_avg)).mean(0))


def write_weights(network: MiniHead, path: Path, training: dict[str, Any]) -> None:
    """Write half-precision weights with the architecture and how they were trained."""
    set_mean_latent(network)
    tensors = {key: value.half().cpu() for key, value in network.state_dict().items()}
    metadata = {
        "kind": "triplane",
        "name": NAME,
        "licence": "Apache-2.0; trained on renderings of MakeHuman data (CC0)",
        "architecture": network.architecture.model_dump(),
        "training": training,
    }
    write_tensors(path, tensors, metadata)
