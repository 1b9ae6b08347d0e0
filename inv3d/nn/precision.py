"""Reduced precision where it's safe: in the convolutions of backbone and super-resolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16", "fp16"]
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def run_in(
    precision: Precision, network: Callable[..., Tensor], x: Tensor, *others: Any, **options: Any
) -> Tensor:
    """Call a network with its convolutions in a precision; the result is float32 again.

    Mapping, sampling of planes, decoder, volume rendering, losses and optimiser never see the
    reduced type: depths and sums over many samples need all their digits. Parameters and their
    gradients stay in float32.
    """
    if precision == "fp32":
        return network(x, *others, **options)
    with torch.autocast(x.device.type, _TYPES[precision]):
        return network(x, *others, **options).float()
