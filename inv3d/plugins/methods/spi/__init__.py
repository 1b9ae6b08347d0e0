"""SPI: one picture and its mirror image, for heads are nearly symmetric.

The method is imported when it's first used, since its options are checked before torch is imported.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from inv3d.plugins.methods.spi.method import SPI as SPI

_PARTS = {"method": ["SPI"], "config": ["SPIConfig"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_PARTS)
