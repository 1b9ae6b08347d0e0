"""Reading and writing tensors: safetensors only, nothing pickled, clear errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from inv3d.core.errors import WeightsError
from inv3d.core.files import atomic_write

METADATA_KEY = "inv3d"


def asset(name: str) -> Path:
    """Return the path of an embedded file, such as `minihead.safetensors`."""
    return Path(__file__).resolve().parent.parent / "assets" / name


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors with JSON metadata to a safetensors file, whole or not at all."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        try:
            save_file(ready, temporary, {METADATA_KEY: json.dumps(metadata)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file and its JSON metadata.

    Raises:
        WeightsError: where the file is missing, no safetensors file, or cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(
            f"{path}: not a readable safetensors file ({error}); fetch or write it again"
        ) from error


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load tensors into a module by name, in the module's own floating-point types.

    Raises:
        WeightsError: naming the first tensor that is missing, left over or of another shape.
    """
    state = module.state_dict()
    missing = sorted(set(state) - set(tensors))
    extra = sorted(set(tensors) - set(state))
    shapes = [n for n in state if n in tensors and state[n].shape != tensors[n].shape]
    if missing or extra or shapes:
        parts = []
        if missing:
            parts.append(f"{len(missing)} tensors missing (first: {missing[0]})")
        if extra:
            parts.append(f"{len(extra)} left over (first: {extra[0]})")
        if shapes:
            name = shapes[0]
            parts.append(
                f"{len(shapes)} of another shape (first: {name} is "
                f"{tuple(tensors[name].shape)}, expected {tuple(state[name].shape)})"
            )
        raise WeightsError(
            f"{path}: weights of another architecture: {'; '.join(parts)}; "
            "choose the generator or variant that these weights belong to"
        )
    module.load_state_dict({n: t.to(state[n].dtype) for n, t in tensors.items()})


def fingerprint(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return 16 hex digits that tell architecture and weights apart."""
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
