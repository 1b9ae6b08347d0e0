"""Devices by the names that users give them."""

from __future__ import annotations

import torch

from inv3d.core.arguments import expect
from inv3d.core.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """Return the device of `--device`: auto, cpu, cuda, cuda:1.

    Raises:
        ConfigError: where the name means nothing or the machine has no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:NUMBER")
    if device.type == "cpu":
        return torch.device("cpu")
    if (device.index or 0) >= count:
        found = f"{count} CUDA devices" if count else "no CUDA device"
        raise ConfigError(f"--device {name}: this machine has {found}; use --device auto")
    return torch.device("cuda", device.index or 0)


def as_device(device: torch.device | str) -> torch.device:
    """Return a device as it is, or the one of a name.

    Raises:
        ConfigError: where the name means nothing or the machine has no such device.
    """
    expect("device", device, (str, torch.device), "'auto', 'cpu', 'cuda' or 'cuda:1'")
    return resolve_device(device) if isinstance(device, str) else device
