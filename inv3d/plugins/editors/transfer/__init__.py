"""Transfer: a region of another head, such as its hair, in this one's scene.

The editor is imported when it's first used, since its options are checked before torch is imported.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from inv3d.plugins.editors.transfer.editor import Transfer as Transfer

_PARTS = {"editor": ["Transfer"], "config": ["TransferEdit"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_PARTS)
