"""What a latent is known to stand for, computed by a layer that isn't trained with the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Standard deviations that a factor may be away from its mean.
FACTOR_LIMIT = 3.0


class KnownFactors(nn.Module):
    """Ramps of z and sums of them: a function of z whose tensors are buffers.

    A mapping network of a few layers loses what is small in a picture, though z has it. Where it's
    known what z stands for, w may carry these factors beside what is learned.

    Args:
        z_dim: size of z.
        ramps: linear functions of z, each limited to [0, 1].
        factors: sums of ramps, standardised.
    """

    slopes: Tensor
    offsets: Tensor
    sums: Tensor
    shift: Tensor
    gain: Tensor

    def __init__(self, z_dim: int, ramps: int, factors: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.zeros(ramps, z_dim))
        self.register_buffer("offsets", torch.zeros(ramps))
        self.register_buffer("sums", torch.zeros(factors, ramps))
        self.register_buffer("shift", torch.zeros(factors))
        self.register_buffer("gain", torch.ones(factors))

    def forward(self, z: Tensor) -> Tensor:
        """Return factors [B, factors], within +-FACTOR_LIMIT, for z [B, z_dim]."""
        ramps = (z @ self.slopes.t() + self.offsets).clamp(0, 1)
        return (ramps @ self.sums.t() + self.shift).clamp(-FACTOR_LIMIT, FACTOR_LIMIT)
