"""The plugin: EG3D's network behind the Generator contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from inv3d.core.alignment import Alignment
from inv3d.core.config import PluginConfig
from inv3d.core.weights.known import WeightFile
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.eg3d.published import load_published
from inv3d.plugins.generators.eg3d.config import EG3DConfig
from inv3d.plugins.generators.eg3d.networks import NETWORKS, PAGE

EXAMPLE = f"ffhqrebalanced512-128.pkl ({PAGE})"


class EG3D(TriplaneGenerator):
    """EG3D: one scene, three planes, any number of cameras."""

    name: ClassVar[str] = "eg3d"
    summary: ClassVar[str] = "EG3D tri-plane GAN (FFHQ, AFHQ, ShapeNet) with official weights"
    licence: ClassVar[str] = "code: Apache-2.0; official weights: NVIDIA, non-commercial"
    reference: ClassVar[str] = "Chan et al., CVPR 2022, arXiv 2112.07945"
    replayable = True
    Config: ClassVar[type[PluginConfig]] = EG3DConfig
    weights: ClassVar[tuple[WeightFile, ...]] = NETWORKS
    rays_option: ClassVar[str] = "neural_rendering_resolution"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "ffhq512": {"variant": "ffhq"},
        "afhq512": {"variant": "afhq"},
        "shapenet128": {"variant": "shapenet"},
    }

    @classmethod
    def alignment(cls, config: PluginConfig) -> Alignment | None:
        """Return where faces are in the pictures of its variant."""
        assert isinstance(config, EG3DConfig)
        return config.variants[config.variant].alignment

    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> Self:
        """Build the generator with its weights, in eval mode, on the CPU.

        Raises:
            WeightsError: where no weights are given, or they belong to another architecture.
        """
        assert isinstance(config, EG3DConfig)
        return load_published(cls, config, weights, EXAMPLE)
