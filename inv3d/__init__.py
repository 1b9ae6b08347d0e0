"""3dinv: a plugin framework for 3D-aware GAN inversion.

Everything that users and plugin authors need is here by name; `__init__.pyi` lists it. A name is
imported when it's first used, so that `import inv3d` itself imports no torch.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
