"""HFGI3D: one picture, carried to views nearby, tunes the generator together with them.

The method is imported when it's first used, since its options are checked before torch is imported.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from inv3d.plugins.methods.hfgi3d.method import HFGI3D as HFGI3D

_PARTS = {"method": ["HFGI3D"], "config": ["HFGI3DConfig"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_PARTS)
