"""Warnings: each appears when it should, and not otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.report.metrics import evaluate
from inv3d.report.warnings import (
    deviations,
    find_warnings,
    held_out_warnings,
    latent_warnings,
    loss_warnings,
)
from inv3d.testing.toy import toy_latents
from tests.toy_runs import CPU, flattened, toy_case


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


def test_odd_cameras_are_named() -> None:
    case = toy_case()
    metrics = evaluate(
        case.generator, case.inversion, case.capture, case.chosen, case.held_out, CPU
    )
    camera = case.capture.camera
    far = camera.cam2world.clone()
    far[:, :3, 3] *= 1.4
    odd = case.capture.with_cameras(Camera(far, camera.intrinsics))
    (text,) = find_warnings(case.generator, case.inversion, odd, metrics, [])
    count = len(odd)
    assert text.startswith(f"in {count} of {count} pictures the head lies outside")


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


@pytest.mark.parametrize(("pace", "steady", "ramped"), [(200, True, False), (40, True, True)])
def test_a_rate_that_falls_to_nothing_lowers_the_loss_by_itself(
    pace: float, steady: bool, ramped: bool
) -> None:
    rows = log([math.exp(-step / pace) for step in range(100)])
    constant = [row | {"lr": {"w": 0.1}} for row in rows]
    falling = [row | {"lr": {"w": 0.1 * (1 - i / 100)}} for i, row in enumerate(rows)]
    single = [row | {"lr": 0.1} for row in rows]
    assert bool(loss_warnings(constant)) is bool(loss_warnings(single)) is steady
    assert bool(loss_warnings(falling)) is ramped


@pytest.mark.parametrize(("fall", "warned"), [(0.1, False), (0.5, True)])
def test_what_views_in_turn_do_to_a_loss_is_no_improvement(fall: float, warned: bool) -> None:
    views = [0.35, 0.41, 0.28, 0.34, 0.30, 0.40, 0.27]
    losses = [2.0] * 30 + [views[step % 7] for step in range(18)]
    losses[-5:] = [value * (1 - fall) for value in losses[-5:]]
    assert bool(loss_warnings(log(losses))) is warned


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
