"""Seeds of identities. The three uses never share a seed, so they never share a head."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.minihead.layout import Z_DIM

EVALUATION = range(10_000_000, 11_000_000)
CAPTURES = range(20_000_000, 21_000_000)
# PyTorch reads 32 bits of a seed.
TRAINING = range(100_000_000, 1 << 32)


def z_of_seed(seed: int) -> Tensor:
    """The z [52] of one identity; the same on every device."""
    return torch.randn(Z_DIM, generator=torch.Generator().manual_seed(seed))
