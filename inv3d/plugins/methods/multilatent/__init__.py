"""Multi-latent inversion: a latent for every target camera, one tuned generator.

The method is imported when it's first used, since its options are checked before torch is imported.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from inv3d.plugins.methods.multilatent.method import MultiLatent as MultiLatent

_PARTS = {"method": ["MultiLatent"], "config": ["MultiLatentConfig"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_PARTS)
