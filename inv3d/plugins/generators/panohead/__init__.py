"""PanoHead: geometry-aware 3D full-head synthesis in 360 degrees (An et al., CVPR 2023)."""

from inv3d.plugins.generators.panohead.config import PanoHeadConfig
from inv3d.plugins.generators.panohead.generator import PanoHead

__all__ = ["PanoHead", "PanoHeadConfig"]
