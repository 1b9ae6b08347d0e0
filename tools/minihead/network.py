"""The architecture of the embedded generator, and how its weights are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.weights.tensors import load_state, read_tensors, write_tensors
from inv3d.nn.eg3d.architecture import (
    MappingOptions,
    SuperresolutionOptions,
    TrigridArchitecture,
    TrigridRenderingOptions,
)
from inv3d.nn.known_factors import KnownFactors
from inv3d.plugins.generators.minihead import MiniHead360
from tools.minihead.cameras import RADIUS
from tools.minihead.factors import FACTORS, RAMPS, fit_known_factors
from tools.minihead.layout import Z_DIM

NAME = "minihead360"
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
_AFFINE = re.compile(r".*\.affine\.weight")
_FIRST, _DECODER = "backbone.mapping.fc0.weight", "decoder.net.2."
# The first network had 24 numbers of shape where there are 12 now, the others being the same.
_OLD_Z, _OLD_SHAPE = 64, range(18, 30)


def build(seed: int) -> MiniHead360:
    """Return the network with random weights and no factors yet."""
    return MiniHead360(ARCHITECTURE, seed)


def with_factors(network: MiniHead360, steps: int = 3000) -> None:
    """Fit the layer of known factors."""
    known = network.backbone.mapping.known
    assert known is not None
    fitted = KnownFactors(Z_DIM, RAMPS, FACTORS)
    fit_known_factors(fitted, steps)
    known.load_state_dict(fitted.state_dict())


def warm_start(network: MiniHead360, weights: Path) -> None:
    """Begin from weights that were written before, or from those of the first `minihead360`."""
    tensors, metadata = read_tensors(weights)
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    if metadata["architecture"]["z_dim"] == _OLD_Z:
        tensors = widened(tensors) | {
            name: tensor
            for name, tensor in network.state_dict().items()
            if name.startswith("backbone.mapping.known.")
        }
    load_state(network, tensors, weights)


def widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the first `minihead360` for this architecture.

    Known factors have no effect yet, half of the shape is left out, and density, which was four
    times as steep, is twice as steep.
    """
    made = dict(tensors)
    kept = [k for k in range(_OLD_Z) if k not in _OLD_SHAPE]
    for name, weight in tensors.items():
        if name == _FIRST:
            made[name] = _wider(weight[:, kept], FACTORS, _OLD_Z)
        elif _AFFINE.fullmatch(name):
            made[name] = _wider(weight, FACTORS, LEARNED)
        elif name == "backbone.mapping.w_avg":
            made[name] = torch.cat([weight, weight.new_zeros(FACTORS)])
        elif name.startswith(_DECODER):
            made[name] = torch.cat([2 * weight[:1], weight[1:]])
    return made


def _wider(weight: Tensor, more: int, before: int) -> Tensor:
    """Add columns of zeros; layers divide weights by the root of their inputs, once `before`."""
    wide = torch.cat([weight, weight.new_zeros(len(weight), more)], 1)
    return wide * (wide.shape[1] / before) ** 0.5


@torch.no_grad()
def set_mean_latent(network: MiniHead360, samples: int = 20_000, seed: int = 7) -> None:
    """Store the mean of W, which truncation and inversion start from."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, Z_DIM, generator=rng)
    mapping = network.backbone.mapping
    mapping.w_avg.copy_(mapping(z.to(mapping.w_avg)).mean(0))


def write_weights(network: MiniHead360, path: Path, training: dict[str, Any]) -> None:
    """Write half-precision weights with the architecture and how they were trained."""
    set_mean_latent(network)
    tensors = {key: value.half() for key, value in network.state_dict().items()}
    metadata = {
        "kind": "triplane",
        "name": NAME,
        "licence": "Apache-2.0; trained on renderings of MakeHuman data (CC0)",
        "architecture": network.architecture.model_dump(),
        "training": training,
    }
    write_tensors(path, tensors, metadata)
