"""Reduced precision where it's safe: in convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def run_in(
    precision: Precision, network: Callable[..., Tensor], x: Tensor, *others: Any, **options: Any
) -> Tensor:
    """Call a network with its convolutions in a precision; the result is float32 again.

    Mapping, sampling of planes, decoder, volume rendering, losses and optimiser never see the
    reduced type: depths and sums over many samples need all their digits. Parameters and their
    gradients stay in float32. tf32 is no type: `use_tf32` chooses it.
    """
    if precision not in _TYPES:
        return network(x, *others, **options)
    with torch.autocast(x.device.type, _TYPES[precision]):
        return network(x, *others, **options).float()


def use_tf32(precision: Precision) -> None:
    """Let convolutions on CUDA round their factors to TF32 (10 bits of mantissa), or forbid it.

    This holds for the whole process and the convolutions of losses too, since backward passes read
    it when they run; the generator that was built last decides. torch itself allows it unless told
    otherwise; matrix products stay exact.
    """
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
