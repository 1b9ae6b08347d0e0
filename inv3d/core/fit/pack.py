"""Nested plain values with tensors among them as JSON and named tensors, and back.

What optimisers keep is nested: Adam has tensors by parameter, L-BFGS lists of them. Checkpoints are
safetensors files, which hold tensors by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def pack(value: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """Return plain JSON values, and put the tensors into a table under names of their own.

    Args:
        value: numbers, texts, None, tensors, and lists, tuples and dicts of them.
        tensors: is filled with copies on the CPU.
        prefix: before their names.

    Raises:
        TypeError: where there's anything else.
    """
    if isinstance(value, Tensor):
        name = f"{prefix}{len(tensors)}"
        tensors[name] = value.detach().to("cpu", copy=True)
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, pack(item, tensors, prefix)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [pack(item, tensors, prefix) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} can't stand in a checkpoint")


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `pack` was given; tuples have become lists.

    Raises:
        KeyError: where a tensor is missing.
    """
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]].clone(memory_format=torch.preserve_format)
    if "dict" in value:
        return {key: unpack(item, tensors) for key, item in value["dict"]}
    return [unpack(item, tensors) for item in value["list"]]
