"""Multi-latent inversion: a latent for every target camera, one tuned generator."""

from inv3d.plugins.methods.multilatent.config import MultiLatentConfig
from inv3d.plugins.methods.multilatent.method import MultiLatent

__all__ = ["MultiLatent", "MultiLatentConfig"]
