"""Devices by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from inv3d.core.device import as_device, resolve_device
from inv3d.core.errors import ConfigError
from inv3d.core.estimator import find_estimator, load_estimator
from inv3d.core.generator import load_generator
from inv3d.core.loss import load_loss
from inv3d.testing.toy import ToyConfig, ToyGenerator


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


def test_a_device_is_taken_as_it_is() -> None:
    assert as_device(torch.device("meta")) == torch.device("meta")
    assert as_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("load", "name"),
    [(load_generator, "minihead"), (load_loss, "mse"), (load_estimator, "landmarks")],
)
@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_whatever_is_loaded_goes_to_a_known_device(
    load: Callable[..., object], name: str, device: str
) -> None:
    with pytest.raises(ConfigError, match=f"^--device {device}: "):
        load(name, device=device)


def test_an_estimator_is_looked_for_on_a_known_device() -> None:
    with pytest.raises(ConfigError, match=r"^--device gpu: "):
        find_estimator(ToyGenerator(ToyConfig()), "--camera auto", device="gpu")


def test_what_is_loaded_may_go_where_there_is_room() -> None:
    assert load_generator("minihead", device="auto").device == resolve_device("auto")
