"""Losses of every kind in every optimisation method: masks, depths and latents where there are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from inv3d.core.config import merge
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.toy_fits import method

SHORT: dict[str, Any] = {"latent": {"steps": 2, "pull": 0.0, "samples": 50}, "tuning": {"steps": 2}}
COARSE = {"latent": {"steps": 2, "samples": 50}, "tuning": {"steps": 2, "locality": 0.1}}
ELLIPSE = {"views": 2, "yaw_deg": 10, "pitch_deg": 5}
METHODS: dict[str, tuple[int, dict[str, Any]]] = {
    "wplus": (1, {"latent": SHORT["latent"]}),
    "pti": (1, merge(SHORT, {"tuning": {"locality": 0.1}})),
    "spi": (1, merge(SHORT, {"tuning": {"every": 1}})),
    "hfgi3d": (1, {"coarse": COARSE, "final": {"steps": 2}, "path": ELLIPSE}),
    "poseopt": (
        1,
        {
            "latent": {"steps": 3, "samples": 50},
            "tuning": {"steps": 2},
            "starts": {"steps": 2, "yaws": 3, "pitches": 1},
            "pose": {"estimator": "none", "warmup": 1},
            "warp": {"losses": {"warping": 0}},
        },
    ),
    "multiview": (5, merge(SHORT, {"tuning": {"locality": 0.1}})),
    "multilatent": (5, {"start_from": "mean", "latent": {"steps": 2}, "tuning": {"steps": 1}}),
}
LOSSES: dict[str, dict[str, Any]] = {
    "mask": {"losses": {"mse": {"weight": 1.0, "mask": True}}},
    "where": {"losses": {"mse": {"weight": 1.0, "where": "mask"}, "l1": 1.0}},
    "depth": {"losses": {"mse": 1.0, "depth_consistency": 1.0}},
    "latent": {"losses": {"mse": 1.0}, "latent": {"losses": {"w_norm": 1.0}}},
}
# the part of a method that has the options of a latent stage
WITHIN = {"hfgi3d": "coarse"}


def taken(name: str, options: dict[str, Any]) -> list[Progress]:
    views, short = METHODS[name]
    generator = ToyGenerator(ToyConfig())
    capture = toy_capture(generator, 5, seed=5)
    capture = capture[[0]] if views == 1 else capture
    steps = method(name, merge(short, options)).steps(generator, capture, Context.create("cpu", 1))
    return list(steps)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("name", METHODS)
def test_it_comes_to_its_end(name: str, kind: str) -> None:
    options = dict(LOSSES[kind])
    if kind == "latent" and name in WITHIN:
        options[WITHIN[name]] = {"latent": options.pop("latent")}
    steps = taken(name, options)
    totals = torch.tensor([step.losses["total"] for step in steps])
    assert bool(totals.isfinite().all())
    if kind == "latent":
        assert any("w_norm" in loss for step in steps for loss in step.losses)


@pytest.mark.parametrize("interpolation", [0.0, 1.0])
def test_latents_of_several_are_pulled_to_the_mean_not_to_the_start(interpolation: float) -> None:
    start = {"latent": {"steps": 20, "samples": 50}, "tuning": {"steps": 0}}
    options = {"start_from": "multiview", "start": start, "interpolation": interpolation}
    steps = taken("multilatent", merge(options, LOSSES["latent"]))
    (first,) = (step for step in steps if step.stage == "latent" and step.step == 0)
    pulls = {name: value for name, value in first.losses.items() if "w_norm" in name}
    assert len(pulls) == 1 and min(pulls.values()) > 1e-3
