"""3dinv: a plugin framework for 3D-aware GAN inversion."""

__version__ = "0.1.0"
