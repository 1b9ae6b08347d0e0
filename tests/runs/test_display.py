"""Progress: plain lines now and then, bars on terminals, rates from the time of steps."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from inv3d.core.fit.loop import Progress
from inv3d.runs import display
from inv3d.runs.display import Bars, Lines, open_display


def steps(stage: str, count: int, seconds: float = 0.5) -> list[Progress]:
    return [Progress(stage, i, count, {"total": 2.0 / (i + 1)}, 0.1, seconds) for i in range(count)]


def test_plain_lines_come_at_the_ends_of_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        for step in [*steps("latent", 50), *steps("tuning", 3)]:
            lines.step(step)
        lines.say("measuring")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "latent 1/50  loss 2  2.00 it/s  0:24 left",
        "latent 50/50  loss 0.04  2.00 it/s  0:00 left",
        "tuning 1/3  loss 2  2.00 it/s  0:01 left",
        "tuning 3/3  loss 0.6667  2.00 it/s  0:00 left",
        "measuring",
    ]


def test_steps_that_take_no_time_have_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        for step in steps("latent", 2, seconds=0.0):
            lines.step(step)
    shown = ["latent 1/2  loss 2  0:00 left", "latent 2/2  loss 1  0:00 left"]
    assert capsys.readouterr().err.splitlines() == shown


def test_plain_lines_come_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000))
    monkeypatch.setattr(display.time, "monotonic", lambda: float(next(clock)))
    with Lines() as lines:
        for step in steps("latent", 50):
            lines.step(step)
    assert 3 < len(capsys.readouterr().err.splitlines()) < 15


def test_bars_show_stage_loss_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("TERM", "xterm")
    shown = open_display()
    assert isinstance(shown, Bars)
    with shown:
        for step in [*steps("latent", 4), *steps("tuning", 2)]:
            shown.step(step)
        shown.say("text [with brackets]")
    text = stream.getvalue()
    for part in ("latent", "4/4", "tuning", "2/2", "loss 0.5", "2.00 it/s", "[with brackets]"):
        assert part in text


def test_a_file_gets_lines() -> None:
    assert isinstance(open_display(), Lines)


def test_evaluations_are_shown_where_steps_make_several(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Lines() as lines:
        for step in steps("latent", 4):
            lines.step(replace(step, evaluations=2 if step.step == 1 else 1))
        for step in steps("tuning", 2):
            lines.step(step)
    shown = capsys.readouterr().err.splitlines()
    assert shown[1] == "latent 4/4  loss 0.5  2.00 it/s  0:00 left  5 evaluations"
    assert not any("evaluations" in line for line in (shown[0], *shown[2:]))
