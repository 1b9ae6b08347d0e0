"""pSp's encoder: every latent on its own (Richardson et al., Encoding in Style, 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.nn.encoders.pyramid import StylePyramid


class GradualStyleEncoder(StylePyramid):
    """Pictures to latents, counted from the mean latent of the generator."""

    def forward(self, images: Tensor) -> Tensor:
        """Return latents [N, num_ws, w_dim] of images [N, 3, size, size] in [-1, 1]."""
        return torch.stack(list(self.each(images, len(self.styles))), dim=1)
