"""Numbers as people read them."""

from __future__ import annotations

import pytest

from inv3d.report.tables import best, degrees, duration, flat, number


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.01234, 4, "0.0123"),
        (0.0, 4, "0.0000"),
        (0.0000123, 4, "1.2e-05"),
        (-0.5, 2, "-0.50"),
        (31.4159, 2, "31.42"),
        (None, 3, "–"),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8.24, "8.2 s"),
        (200, "3 min 20 s"),
        (3600 + 5 * 60, "1 h 05 min"),
        (59.96, "1 min 00 s"),
        (None, "–"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_options_are_named_as_on_the_command_line() -> None:
    options = {"latent": {"steps": 5, "losses": {"mse": {"weight": 0.1}}}, "empty": {}, "no": None}
    options |= {"on": True, "name": "a b", "some": ["x", 1, False]}
    assert flat(options) == [
        ("latent.steps", "5"),
        ("latent.losses.mse.weight", "0.1"),
        ("empty", "–"),
        ("no", "–"),
        ("on", "true"),
        ("name", "a b"),
        ("some", '["x", 1, false]'),
    ]


def test_the_best_is_the_best_as_written() -> None:
    assert best([0.5, 0.4, None], "lower", 2) == {1}
    assert best([0.5, 0.4, None], "higher", 2) == {0}
    assert best([0.401, 0.402, 0.5], "lower", 2) == {0, 1}
    assert best([0.4, None], "lower", 2) == set()
    assert best([0.4, 0.5], "", 2) == set()


def test_angles_have_signs_where_signs_mean_something() -> None:
    assert [degrees(v) for v in (15.2, -15.2, -0.2, 180, -180)] == [
        *("+15°", "-15°", "0°", "180°", "180°"),
    ]
