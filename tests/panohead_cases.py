"""The golden PanoHead networks, and a tiny one, built from the facts of their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.config import merge
from inv3d.core.scene import Rendering, Scene
from inv3d.plugins.generators.panohead import PanoHead, PanoHeadConfig
from tests.eg3d_cases import ALL_OUTPUTS, options_of
from tests.golden_cases import GoldenCase

CASES = ("panohead_head128_d3", "panohead_plain128_d1")
TINY: dict[str, Any] = {
    "z_dim": 6,
    "w_dim": 10,
    "channels": (8, 8, 6),
    "plane_resolution": 16,
    "plane_channels": 4,
    "decoder_hidden": 8,
    "decoder_channels": 5,
    "background_channels": (6, 4),
    "img_resolution": 16,
    "neural_rendering_resolution": 6,
    "rendering": {"depth_resolution": 8, "depth_resolution_importance": 6},
    "superresolution": {"module": "2X", "input_resolution": 8, "channels": (6, 4)},
    "random_weights": True,
}


def config_of(facts: Mapping[str, Any], **changes: Any) -> PanoHeadConfig:
    """Return the configuration of a case's network."""
    rendering = facts["constructor_kwargs"]["rendering_kwargs"]
    own = {
        "plane_resolution": rendering["triplane_size"],
        "plane_depth": rendering["triplane_depth"],
        "decoder_activation": rendering["decoder_activation"],
        "torgb_raw": rendering["use_torgb_raw"],
        "background": rendering["use_background"],
        "neural_rendering_resolution": facts.get("neural_rendering_resolution", 64),
    }
    return PanoHeadConfig(**merge(merge(options_of(facts), own), changes))


def build(case: GoldenCase, **changes: Any) -> PanoHead:
    """Return the case's network with its weights."""
    generator = PanoHead(config_of(case.facts, **changes))
    generator.load_state_dict(case.weights())
    return generator.eval().requires_grad_(False)


@dataclass(frozen=True)
class Rendered:
    """A case's network and what it makes of the case's latents and cameras."""

    case: GoldenCase
    generator: PanoHead
    scene: Scene
    rendering: Rendering


@cache
def rendered(name: str) -> Rendered:
    """Render a case once for all tests."""
    case = GoldenCase(name)
    generator = build(case)
    with torch.no_grad():
        scene = generator.synthesize(case.given("ws_plus"))
        camera = Camera.from_labels(case.given("c"))
        seen = generator.render(scene, camera, outputs=ALL_OUTPUTS)
    return Rendered(case, generator, scene, seen)


def tiny(**changes: Any) -> PanoHead:
    """Return a random network that renders in milliseconds."""
    generator = PanoHead.create(PanoHeadConfig(**merge(TINY, changes)))
    # Random decoders make fog; a steeper density gives surfaces.
    with torch.no_grad():
        generator.decoder.net[2].weight[0] *= 30
    return generator


def latents(count: int, generator: PanoHead) -> Tensor:
    """Return random ws [count, num_ws, w_dim]."""
    rng = torch.Generator().manual_seed(3)
    return torch.randn(count, generator.num_ws, generator.spec.w_dim, generator=rng)


def turn(count: int) -> Camera:
    """Return cameras all around the head."""
    camera = PanoHead.create(PanoHeadConfig(**TINY)).spec.camera
    return camera.orbit(torch.linspace(-3, 3, count))
