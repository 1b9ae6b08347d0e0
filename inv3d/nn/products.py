"""Products of matrices on CPUs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# oneDNN's product; MKL's doesn't use AVX-512 on CPUs of other makers.
_onednn: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `F.linear(x, weight, bias)` [P, O] of x [P, I] and weight [O, I], on a CPU."""
    if _onednn is not None and x.dtype == torch.float32:
        return _onednn(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)
