"""Learning-rate and noise schedules against the reference's."""

from __future__ import annotations

import math

import pytest

from inv3d.core.fit.schedule import constant, delayed, latent_noise, ramped, warmed
from tests.golden_cases import GoldenCase

GOLDEN, POSEOPT = GoldenCase("lr_schedule").tensors, GoldenCase("poseopt_schedule")


@pytest.mark.parametrize(
    ("case", "lr", "steps"), [("w500", 0.1, 500), ("multi_w500", 0.01, 500), ("w20", 0.1, 20)]
)
def test_ramped_rate_and_noise_are_the_references(case: str, lr: float, steps: int) -> None:
    rate, noise = ramped(lr, steps), latent_noise(0.05, steps)
    for step in range(steps):
        assert rate(step) == pytest.approx(float(GOLDEN[f"{case}.lr"][step]), abs=1e-9)
        assert noise(step) == pytest.approx(float(GOLDEN[f"{case}.noise"][step]), abs=1e-9)


def test_golden_rate_and_noise_after_a_warm_up() -> None:
    facts, golden = POSEOPT.facts["kwargs"], POSEOPT.tensors
    warm, steps = facts["cam_preheat_steps"], facts["num_steps"]
    left = steps - warm
    rate = delayed(ramped(facts["initial_learning_rate"], left), warm)
    noise = delayed(latent_noise(facts["initial_noise_factor"], left), warm)
    for step in range(steps):
        assert rate(step) == pytest.approx(float(golden["lr"][step]), abs=1e-9)
        assert noise(step) == pytest.approx(float(golden["w_noise_scale"][step]), abs=1e-9)


def test_tuning_rate_is_constant() -> None:
    rate = constant(3e-4)
    assert all(rate(i) == pytest.approx(float(v), abs=1e-9) for i, v in enumerate(GOLDEN["pti.lr"]))


def test_step_0_has_rate_0_and_the_last_a_positive_one() -> None:
    rate = ramped(0.1, 500)
    assert rate(0) == 0.0
    assert 0 < rate(499) < 0.1


def test_ramps_of_no_length_leave_the_plateau() -> None:
    rate = ramped(0.1, 10, rampup=0.0, rampdown=0.0)
    assert [rate(step) for step in range(10)] == [0.1] * 10


def test_noise_is_exactly_0_after_its_length() -> None:
    noise = latent_noise(1.0, 100, length=0.5)
    assert noise(49) > 0
    assert [noise(step) for step in range(50, 100)] == [0.0] * 50


def test_warmed_has_a_rate_from_the_first_step_on() -> None:
    rate = warmed(2.0, 40, rampup=0.1)
    assert [rate(step) for step in (0, 1, 2, 3, 4, 39)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert [warmed(2.0, 40)(step) for step in (0, 39)] == [2.0, 2.0]
    assert warmed(2.0, 0, rampup=0.1)(0) == 2.0


def test_warmed_falls_at_the_end_but_never_to_nothing() -> None:
    rate = warmed(2.0, 40, rampup=0.1, rampdown=0.1)
    falling = [rate(step) for step in (35, 36, 37, 38, 39)]
    expected = [1 - math.cos(math.pi * left / 4) for left in (4, 4, 3, 2, 1)]
    assert falling == pytest.approx(expected) and falling[-1] > 0
