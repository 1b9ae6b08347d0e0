"""e4e's encoder: one latent, and what the others add to it.

Tov et al., Designing an Encoder for StyleGAN Image Manipulation (2021). Its latents stay near one
another, where the generator is easier to edit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.nn.encoders.pyramid import StylePyramid


class Encoder4Editing(StylePyramid):
    """Pictures to latents, counted from the mean latent of the generator."""

    def forward(self, images: Tensor, deltas: int | None = None) -> Tensor:
        """Return latents [N, num_ws, w_dim] of images [N, 3, size, size] in [-1, 1].

        Args:
            images: aligned as those of the training.
            deltas: latents, from the second on, that differ from the first one; all unless given.
                Training begins with none and lets in one after another.
        """
        count = len(self.styles) if deltas is None else min(deltas + 1, len(self.styles))
        first, *others = self.each(images, count)
        zero = torch.zeros_like(first)
        added = [zero, *others, *[zero] * (len(self.styles) - count)]
        return first[:, None] + torch.stack(added, dim=1)
