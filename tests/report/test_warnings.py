"""Warnings: each appears when it should, and not otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.capture import Capture
from inv3d.report.metrics import evaluate
from inv3d.report.warnings import (
    camera_warnings,
    deviations,
    find_warnings,
    held_out_warnings,
    latent_warnings,
    loss_warnings,
)
from inv3d.testing.toy import toy_latents
from tests.toy_runs import CPU, flattened, toy_case

PRIOR = CameraPrior(radius=2.7, focal=4.2, yaw_deg=45.0, pitch_deg=20.0)


def capture(yaw_deg: list[float], pitch_deg: float = 0.0, prior: CameraPrior = PRIOR) -> Capture:
    camera: Camera = prior.orbit(torch.tensor(yaw_deg).deg2rad(), math.radians(pitch_deg))
    names = tuple(f"{i}.png" for i in range(len(yaw_deg)))
    return Capture(torch.zeros(len(names), 3, 4, 4), camera, names)


def log(values: list[float], stage: str = "latent") -> list[dict]:
    return [{"stage": stage, "step": i, "losses": {"total": v}} for i, v in enumerate(values)]


def test_a_good_run_has_none() -> None:
    case = toy_case()
    metrics = evaluate(
        case.generator, case.inversion, case.capture, case.chosen, case.held_out, CPU
    )
    rows = log([0.1 + math.exp(-step / 10) for step in range(200)])
    assert find_warnings(case.generator, case.inversion, case.capture, metrics, rows) == []


def test_a_generator_without_depth_is_warned_of_the_same() -> None:
    case = toy_case(error=30.0)
    texts = []
    for made in (case, flattened(case)):
        metrics = evaluate(
            made.generator, made.inversion, made.capture, made.chosen, made.held_out, CPU
        )
        texts.append(find_warnings(made.generator, made.inversion, made.capture, metrics, []))
    assert texts[0] == texts[1]
    assert texts[0]


def test_cameras_outside_the_range() -> None:
    assert camera_warnings(capture([-45, 0, 47]), PRIOR) == []
    (text,) = camera_warnings(capture([-70, 0, 60]), PRIOR)
    assert text.startswith("2 of 3 views are seen from a yaw beyond the generator's ±45")
    assert "0.png: -70" in text
    (text,) = camera_warnings(capture([0], pitch_deg=-40), PRIOR)
    assert text.startswith("1 of 1 views is seen from a pitch")


@pytest.mark.parametrize(
    ("changes", "word"), [({"radius": 5.0}, "distance"), ({"focal": 1.2}, "focal length")]
)
def test_unusual_cameras(changes: dict[str, float], word: str) -> None:
    (text,) = camera_warnings(capture([0, 10], prior=replace(PRIOR, **changes)), PRIOR)
    assert f"unusual {word}" in text
    assert "check the crop" in text


def test_random_heads_lie_one_deviation_away() -> None:
    case = toy_case()
    heads = torch.cat([toy_latents(case.generator, 1, seed=seed) for seed in range(40)])
    assert float(deviations(case.generator, heads).mean()) == pytest.approx(1.0, abs=0.15)


def test_far_latents() -> None:
    case = toy_case()
    assert latent_warnings(case.generator, case.inversion) == []
    far = replace(case.inversion, ws=case.inversion.ws + 20)
    (text,) = latent_warnings(case.generator, far)
    assert "standard deviations from the generator's mean" in text


def test_a_plateau_is_not_reached() -> None:
    (text,) = loss_warnings(log([math.exp(-step / 40) for step in range(100)]))
    assert "stage 'latent' was still improving" in text
    assert "more steps may help" in text


def test_a_stage_that_went_wrong() -> None:
    values = [math.exp(-step / 20) for step in range(60)] + [0.5] * 20
    (text,) = loss_warnings(log(values, "tuning"))
    assert "stage 'tuning' ended at" in text
    assert "lower learning rate" in text


def test_short_stages_and_gaps_are_left_alone() -> None:
    assert loss_warnings(log([1.0, 0.5, 0.1])) == []
    rows = log([1.0] * 100)
    rows[3]["losses"] = {}
    assert loss_warnings(rows) == []


def numbers(mse: float | None, identity: float | None) -> dict[str, float | None]:
    return {"mse": mse, "identity": identity}


def test_overfitting() -> None:
    good = {"chosen": numbers(0.01, 0.8), "held_out": numbers(0.015, 0.75)}
    assert held_out_warnings(good) == []
    (text,) = held_out_warnings({**good, "held_out": numbers(0.05, 0.75)})
    assert "5.0 times worse" in text
    (text,) = held_out_warnings({**good, "held_out": numbers(0.01, 0.3)})
    assert "identity is lost" in text
    assert held_out_warnings({**good, "held_out": numbers(None, None)}) == []
