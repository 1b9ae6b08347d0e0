"""Reading state dicts that other projects published (.pth): tensors only, no code is run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from inv3d.core.errors import WeightsError
from inv3d.core.weights.tensors import read_tensors
from inv3d.core.weights.torchfile import form_of


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a flat state dict from a .safetensors file or a .pth file.

    Raises:
        WeightsError: where the file is missing, damaged, or holds anything but named tensors.
    """
    path = Path(path)
    if form_of(path) == "safetensors":
        return read_tensors(path)[0]
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise WeightsError(
            f"{path}: not a readable state dict ({reason}); fetch it again"
        ) from None
    tensors = isinstance(state, Mapping) and all(isinstance(v, Tensor) for v in state.values())
    if not tensors:
        raise WeightsError(f"{path}: holds a {type(state).__name__}, expected a dict of tensors")
    return {str(name): value for name, value in state.items()}
