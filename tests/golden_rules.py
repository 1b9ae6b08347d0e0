"""Weights by rule: the networks of the golden cases that are too large to store."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

_STYLE = re.compile(r"styles\.\d+\.linear\.weight$")
_MASK = 0xFFFFFFFF


def uniform(count: int, position: int, salt: int) -> np.ndarray:
    """Hash element numbers 0..count-1 of one state-dict entry to [0, 1), float64."""
    offset = (position * 0x9E3779B9 + salt * 0x85EBCA6B) & _MASK
    x = np.arange(count, dtype=np.uint32) + np.uint32(offset)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x / 2.0**32


def rule_state(
    module: nn.Module, *, salt: int = 0, gain: Mapping[str, float] | None = None
) -> dict[str, Tensor]:
    """Return the whole state dict that the rule gives a module.

    Args:
        module: whose names, order and shapes count.
        salt: of the hash.
        gain: part of a name -> factor of its weights.
    """
    state = module.state_dict()
    normed = {n.rpartition(".")[0] for n in state if n.endswith("running_mean")}
    normed |= {n for n, m in module.named_modules() if isinstance(m, nn.GroupNorm)}
    result = {}
    for position, (name, like) in enumerate(state.items()):
        if name.endswith("num_batches_tracked"):
            result[name] = torch.zeros_like(like)
            continue
        u = uniform(like.numel(), position, salt)
        owner = name.rpartition(".")[0]
        values = _values(name, like.shape, u, owner in normed, gain or {})
        result[name] = torch.from_numpy(values.astype(np.float32)).view(like.shape)
    return result


def _values(
    name: str, shape: torch.Size, u: np.ndarray, normed: bool, gain: Mapping[str, float]
) -> np.ndarray:
    if name.endswith("running_var"):
        return 0.5 + u
    if name.endswith(("running_mean", "bias")):
        return 0.1 * (2 * u - 1)
    if len(shape) == 1:
        return 0.8 + 0.4 * u if normed else 0.1 + 0.3 * u
    if _STYLE.search(name):
        return np.sqrt(3.0) * (2 * u - 1)
    factor = next((value for part, value in gain.items() if part in name), 1.0)
    fan_in = int(np.prod(shape[1:]))
    return factor * np.sqrt(6.0 / fan_in) * (2 * u - 1)
