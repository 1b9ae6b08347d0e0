"""InterFaceGAN: directions of W in which an attribute changes.

The editor is imported when it's first used, since its options are checked before torch is imported.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from inv3d.plugins.editors.interfacegan.editor import InterFaceGAN as InterFaceGAN

_PARTS = {"editor": ["InterFaceGAN"], "config": ["InterFaceGANConfig"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_PARTS)
