"""A network so small that both ways through it take milliseconds."""

from __future__ import annotations

from typing import Any

import torch

from inv3d.bench.cases import Case, build_generator
from inv3d.core.config import merge
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.eg3d.trigrid import TrigridGenerator

LOSSES = {"mse": 1.0, "l1": 1.0}
EG3D: dict[str, Any] = {
    "random_weights": True,
    "z_dim": 8,
    "w_dim": 8,
    "channel_base": 128,
    "channel_max": 16,
    "plane_resolution": 16,
    "plane_channels": 4,
    "decoder_hidden": 8,
    "decoder_channels": 6,
    "neural_rendering_resolution": 8,
    "img_resolution": 32,
    "rendering": {"depth_resolution": 6, "depth_resolution_importance": 6},
    "superresolution": {"module": "2X", "channels": (8, 4), "input_resolution": 16},
}
# what the embedded generator uses of the architecture
HEAD = merge(
    EG3D,
    {
        "use_noise": False,
        "constant_maps": True,
        "plane_axes": "corrected",
        "rendering": {
            "coarse": "guide",
            "white_back": True,
            "density_gain": 2.0,
            "density_scale": 40.0,
        },
    },
)
# what a tri-grid adds
GRID = merge(EG3D, {"background": False, "camera_shift": False})


def tiny_case(
    options: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    chunk: int | None = None,
    plugin: str = "eg3d",
) -> Case:
    generator = build_generator(plugin, options or EG3D).to(dtype)
    assert isinstance(generator, TriplaneGenerator)
    with torch.no_grad():
        rng = torch.Generator().manual_seed(1)
        for parameter in generator.parameters():  # noise strengths and maps begin at zero
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return Case("mini", generator, LOSSES, chunk, "a tiny network")


def grid_case(dtype: torch.dtype, **changes: Any) -> Case:
    case = tiny_case(merge(GRID, changes), dtype, None, "panohead")
    assert isinstance(case.generator, TrigridGenerator)
    return case
