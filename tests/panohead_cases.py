"""The golden PanoHead networks, built from the facts of their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inv3d.core.config import merge
from inv3d.plugins.generators.panohead import PanoHead, PanoHeadConfig
from tests.eg3d_cases import options_of
from tests.golden_cases import GoldenCase

CASES = ("panohead_head128_d3", "panohead_plain128_d1")


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
    config = config_of(case.facts, random_weights=True, **changes)
    generator = PanoHead.create(config)
    generator.load_state_dict(case.weights())
    return generator.eval().requires_grad_(False)
