"""The plugin: EG3D's network behind the Generator contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from inv3d.core.config import PluginConfig
from inv3d.core.weights.known import WeightFile
from inv3d.nn.eg3d.published import PublishedGenerator
from inv3d.plugins.generators.eg3d.config import EG3DConfig
from inv3d.plugins.generators.eg3d.networks import NETWORKS, PAGE


class EG3D(PublishedGenerator):
    """EG3D: one scene, three planes, any number of cameras.

    Args:
        config: architecture and use.
    """

    name: ClassVar[str] = "eg3d"
    summary: ClassVar[str] = "EG3D tri-plane GAN (FFHQ, AFHQ, ShapeNet) with official weights"
    licence: ClassVar[str] = "code: Apache-2.0; official weights: NVIDIA, non-commercial"
    reference: ClassVar[str] = "Chan et al., CVPR 2022, arXiv 2112.07945"
    Config: ClassVar[type[PluginConfig]] = EG3DConfig
    weights: ClassVar[tuple[WeightFile, ...]] = NETWORKS
    example: ClassVar[str] = f"ffhqrebalanced512-128.pkl ({PAGE})"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        "ffhq512": {"variant": "ffhq"},
        "afhq512": {"variant": "afhq"},
        "shapenet128": {"variant": "shapenet"},
    }
