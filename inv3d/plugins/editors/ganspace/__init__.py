"""GANSpace: principal directions of W as controls.

The editor is imported when it's first used, since its options are checked before torch is imported.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from inv3d.plugins.editors.ganspace.editor import GANSpace as GANSpace

_PARTS = {"editor": ["GANSpace"], "config": ["GANSpaceConfig"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_PARTS)
