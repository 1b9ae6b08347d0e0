"""The plugin: PanoHead's network behind the Generator contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from inv3d.core.alignment import Alignment
from inv3d.core.config import PluginConfig
from inv3d.core.weights.known import WeightFile
from inv3d.nn.eg3d.published import load_published
from inv3d.nn.eg3d.trigrid import TrigridGenerator
from inv3d.plugins.generators.panohead.config import PanoHeadConfig

OFFICIAL_PAGE = "https://github.com/SizheAn/PanoHead"
HEAD = WeightFile(
    name="easy-khair-180-gpc0.8-trans10-025000.pkl",
    purpose="heads from all sides, 512 px, 64 rays",
    licence="see its page",
    page=OFFICIAL_PAGE,
    noncommercial=True,
    fits=("panohead-head",),
    without="generator minihead is embedded and needs no file",
)
EXAMPLE = f"{HEAD.name} ({OFFICIAL_PAGE})"


class PanoHead(TrigridGenerator):
    """PanoHead: a head in a tri-grid and its background, seen from all around."""

    name: ClassVar[str] = "panohead"
    summary: ClassVar[str] = "PanoHead tri-grid GAN of heads, 360 degrees, with official weights"
    licence: ClassVar[str] = "code: Apache-2.0; official weights: licence on their page"
    reference: ClassVar[str] = "An et al., CVPR 2023, arXiv 2303.13071"
    replayable = True
    Config: ClassVar[type[PluginConfig]] = PanoHeadConfig
    weights: ClassVar[tuple[WeightFile, ...]] = (HEAD,)
    rays_option: ClassVar[str] = "neural_rendering_resolution"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "head512": {"variant": "head"},
        "plain512": {"variant": "plain"},
    }

    @classmethod
    def alignment(cls, config: PluginConfig) -> Alignment | None:
        """Return where faces are in the pictures of its variant."""
        assert isinstance(config, PanoHeadConfig)
        return config.variants[config.variant].alignment

    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> Self:
        """Build the generator with its weights, in eval mode, on the CPU.

        Raises:
            WeightsError: where no weights are given, or they belong to another architecture.
        """
        assert isinstance(config, PanoHeadConfig)
        return load_published(cls, config, weights, EXAMPLE)
