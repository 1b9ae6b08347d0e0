"""Every preset of an optimisation method takes all its stages, shortened, on the toy generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from inv3d.core.config import merge
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.toy_fits import METHODS, fit

# names of losses that need a download -> ones that don't
STAND_INS: dict[str, Any] = {
    "lpips": {"loss": "l1", "weight": 1.0},
    "raw_lpips": {"loss": "l1", "of": "raw", "weight": 1.0},
    "stylegan_vgg": {"loss": "mse", "weight": 1.0},
    "arcface": {"loss": "l1", "weight": 1.0},
    "warping": {"weight": 1.0, "unit": False},
    "contextual": {"weight": 0.1, "unit": False},
}
SHORT = {"steps": 4, "samples": 50, "views": 4, "warmup": 2}
# of what needs a training
WITHOUT: dict[str, dict[str, Any]] = {
    "poseopt": {
        "encoder": None,
        "encoder_options": {},
        "pose": {"estimator": "none", "through": "numbers"},
        "starts": {"yaws": 5, "pitches": 1},
    },
    "hfgi3d": {"occluded": {"theta": 0.5}},
}
CASES = [(name, preset) for name, kind in METHODS.items() for preset in kind.presets]


def shortened(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset with few steps, and losses that are at hand."""
    made: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            made[name] = shortened(value)
        elif name in SHORT and isinstance(value, int):
            made[name] = min(value, SHORT[name])
        else:
            made[name] = value
        if name == "losses" and isinstance(value, Mapping):
            made[name] = {key: STAND_INS.get(key, term) for key, term in value.items()}
    return made


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_runs_to_its_end(name: str, preset: str) -> None:
    options = merge(shortened(METHODS[name].presets[preset]), WITHOUT.get(name, {}))
    views = toy_capture(ToyGenerator(ToyConfig()), 5, seed=5)
    one = views if name.startswith("multi") else views[[1]]
    done = fit(name, options, one)
    assert done.log and done.inversion.ws.shape[1:] == (4, 8)
    assert all(math.isfinite(p.losses.get("total", 0.0)) for p in done.log)


@pytest.mark.parametrize(("name", "preset"), [("spi", "official"), ("poseopt", "official")])
def test_generators_in_double_precision_have_losses_in_it(name: str, preset: str) -> None:
    options = merge(shortened(METHODS[name].presets[preset]), WITHOUT.get(name, {}))
    view = toy_capture(ToyGenerator(ToyConfig()), 5, seed=5)[[1]]
    single, double = (
        fit(name, options, view, generator=generator)
        for generator in (ToyGenerator(ToyConfig()), ToyGenerator(ToyConfig()).double())
    )
    assert double.inversion.ws.dtype == torch.float32  # as results keep it
    for stage in ("latent", "tuning"):
        one, other = (done.losses(stage)[0] for done in (single, double))
        assert one == pytest.approx(other, rel=1e-3)
