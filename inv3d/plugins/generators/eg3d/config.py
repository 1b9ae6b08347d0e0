"""The options of the generator `eg3d`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from inv3d.core.config import PluginConfig, merge
from inv3d.nn.architecture import Architecture
from inv3d.plugins.generators.eg3d.variants import VARIANTS, VariantName


class EG3DConfig(Architecture, PluginConfig):
    """Architecture and use of an EG3D network.

    Options that aren't given are those of the variant, whose defaults are the published command
    lines. The architecture stored in a weight file stands between the two.
    """

    variant: VariantName = Field(
        default="ffhq", description="published family that gives the defaults"
    )
    random_weights: bool = Field(
        default=False, description="seeded random weights instead of a weight file, for benchmarks"
    )
    seed: int = Field(default=0, ge=0, description="of the random weights")
    sampling: Literal["deterministic", "stochastic"] = Field(
        default="deterministic",
        description="deterministic: bin centres (no noise under depth); stochastic: as in training",
    )
    memory_budget_mb: int = Field(
        default=2048, ge=1, description="MiB that one chunk of rays or views may take, roughly"
    )
    checkpoint: bool = Field(
        default=False, description="recompute chunks in the backward pass: less memory, more time"
    )

    @model_validator(mode="before")
    @classmethod
    def _variant_defaults(cls, options: Any) -> Any:
        if not isinstance(options, Mapping) or options.get("variant", "ffhq") not in VARIANTS:
            return options
        return merge(VARIANTS[options.get("variant", "ffhq")].options, options)
