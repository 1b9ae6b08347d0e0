"""EG3D: efficient geometry-aware 3D generative adversarial networks (Chan et al., CVPR 2022)."""

from inv3d.plugins.generators.eg3d.config import EG3DConfig
from inv3d.plugins.generators.eg3d.generator import EG3D

__all__ = ["EG3D", "EG3DConfig"]
