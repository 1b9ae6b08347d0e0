"""Options that take a number: what is none is refused before anything is loaded."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from inv3d.cli import main


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "words",
    [
        ("render", "a", "-o", "x.gif", "--fps"),
        ("render", "a", "-o", "x.png", "--yaw-deg", "3", "--yaw-deg"),
        ("render", "a", "-o", "x.png", "--pitch-deg"),
        ("export", "a", "--level"),
        ("export", "a", "--yaw-deg"),
        ("edit", "a", "--sheet", "--yaw-deg"),
        ("prepare", "a", "--pitch"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(words: tuple[str, ...], number: str) -> None:
    result = CliRunner().invoke(main, [*words, number])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert f"{words[-1]}" in line and number in line


@pytest.mark.parametrize(
    "words", [("run",), ("train", "e4e"), ("bench", "methods"), ("editor", "fit", "ganspace")]
)
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_seeds_that_are_too_large_are_refused(words: tuple[str, ...], number: int) -> None:
    result = CliRunner().invoke(main, [*words, "--seed", str(number)])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert "--seed" in line and f"{number} has more than 64 bits" in line
