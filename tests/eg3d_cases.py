"""The golden EG3D networks, built from the facts of their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inv3d.core.config import merge
from inv3d.plugins.generators.eg3d import EG3D, EG3DConfig
from tests.golden_cases import GoldenCase

CASES = (
    "eg3d_ffhq512_8xdc",
    "eg3d_afhq256_4x",
    "eg3d_shapenet128_2x",
    "eg3d_ffhq128_disparity",
)
RAY_OPTIONS = (
    "ray_start", "ray_end", "box_warp", "depth_resolution", "depth_resolution_importance",
    "disparity_space_sampling", "white_back",
)  # fmt: skip


def options_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the constructor's arguments of the reference."""
    kwargs, mapping = facts["constructor_kwargs"], facts["constructor_kwargs"]["mapping_kwargs"]
    rendering = kwargs["rendering_kwargs"]
    return {
        **{name: kwargs[name] for name in ("z_dim", "w_dim", "c_dim", "channel_base")},
        **{name: kwargs[name] for name in ("channel_max", "img_resolution", "conv_clamp")},
        **{name: rendering[name] for name in ("decoder_lr_mul", "c_scale")},
        **{name: rendering[name] for name in ("c_gen_conditioning_zero", "avg_camera_radius")},
        "avg_camera_pivot": rendering["avg_camera_pivot"],
        "mapping": {
            "layers": mapping["num_layers"],
            "embed_features": mapping.get("embed_features"),
            "layer_features": mapping.get("layer_features"),
        },
        "neural_rendering_resolution": facts.get("neural_rendering_resolution", 128),
        "rendering": {
            **{name: rendering[name] for name in RAY_OPTIONS if name in rendering},
        },
        "superresolution": {
            "module": rendering["superresolution_module"].rpartition("Hybrid")[2],
            "num_fp16_res": kwargs["sr_num_fp16_res"],
            "antialias": rendering["sr_antialias"],
            "noise_mode": rendering["superresolution_noise_mode"],
        },
    }


def config_of(facts: Mapping[str, Any], **changes: Any) -> EG3DConfig:
    """Return the configuration of a case's network."""
    options = merge(options_of(facts), {"rendering": {"auto_over": "batch"}})
    return EG3DConfig(**merge(options, changes))


def build(case: GoldenCase, **changes: Any) -> EG3D:
    """Return the case's network with its weights."""
    config = config_of(case.facts, random_weights=True, **changes)
    generator = EG3D.create(config)
    generator.load_state_dict(case.weights())
    return generator.eval().requires_grad_(False)


def changes_of(variant: Mapping[str, Any]) -> dict[str, Any]:
    """Translate what one of a case's variants changes."""
    changes: dict[str, Any] = {"rendering": variant.get("rendering_kwargs", {})}
    if "nrr" in variant:
        changes["neural_rendering_resolution"] = variant["nrr"]
    if "sr_antialias" in variant:
        changes["superresolution"] = {"antialias": variant["sr_antialias"]}
    return changes
