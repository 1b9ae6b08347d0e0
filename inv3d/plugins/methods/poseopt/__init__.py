"""Pose-Opt: latent and camera of one picture, found together.

The method is imported when it's first used, since its options are checked before torch is imported.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from inv3d.plugins.methods.poseopt.method import PoseOpt as PoseOpt

_PARTS = {"method": ["PoseOpt"], "config": ["PoseOptConfig"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_PARTS)
