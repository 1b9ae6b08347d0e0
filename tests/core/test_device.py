"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.device import resolve_device
from inv3d.core.errors import ConfigError


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_devices(name: str) -> None:
    expected = "cuda:0" if name == "auto" and torch.cuda.is_available() else "cpu"
    assert str(resolve_device(name)) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [("gpu", "expected auto, cpu, cuda or cuda:NUMBER"), ("mps", "expected auto, cpu, cuda"),
     ("cuda:99", "this machine has")],
)  # fmt: skip
def test_devices_that_arent_there(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}: {said}"):
        resolve_device(name)
