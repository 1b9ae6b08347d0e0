"""What one sees of a batch: lines, a table, or JSON."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from inv3d.batch.messages import Step
from inv3d.batch.monitor import JsonLines, LiveTable, Monitor, PlainLines, Tally
from inv3d.rundir.batch import Row

FAILED = Row("b", "failed", "no images\x1b[31m found", worker="w1", seconds=2.0)


def tell(monitor: Monitor) -> None:
    """Show a short batch."""
    with monitor:
        monitor.begin({"done": 1, "new": 3, "stopped": 1})
        monitor.joined("w1", "host", 7)
        monitor.began("w1", "a")
        monitor.stepped("w1", "a", Step("latent", 3, 9))
        monitor.ended(Row("a", "done", worker="w1", seconds=1.0))
        monitor.again(FAILED, 5.0)
        monitor.ended(FAILED)
        monitor.note("stopping")
        monitor.tick()


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell(PlainLines())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "5 items: 1 done already, 1 to go on with, 3 new",
        "w1: process 7 on host",
        "a: done, 1.0 s (w1)",
        "b: no images[31m found; trying again in 5 s",
        "b: failed, no images[31m found, 2.0 s (w1)",
        "stopping",
    ]


def test_programs_are_given_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell(JsonLines())
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["event"] for one in said] == [
        *("begin", "joined", "began", "stepped", "ended", "again", "ended", "note")
    ]
    assert said[0]["items"] == 5 and said[3]["steps"] == 9 and said[6]["error"] == FAILED.error
    assert said[4]["a_second"] > 0


@pytest.mark.parametrize(("kind", "name"), [(JsonLines, "stdout"), (PlainLines, "stderr")])
def test_where_nobody_reads_any_more_it_goes_on(
    kind: type[Monitor], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as stream:
        monkeypatch.setattr(sys, name, stream)
        tell(kind())


def test_a_terminal_shows_a_table() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monitor = LiveTable(console)
    tell(monitor)
    shown = Console(file=io.StringIO(), width=100)
    for number in range(20):
        monitor.joined(f"x{number}", "host", number)
    monitor.stepped("w1", "c", Step("latent", 3, 9))
    shown.print(monitor.table())
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue()
    assert "2 of 5 done, 1 failed" in text and "latent 3/9" in text
    assert "b: no images[31m found" in text and "and 5 workers more" in text


def test_the_time_that_is_left_follows_from_the_rate() -> None:
    tally = Tally()
    tally.begin({"done": 10, "new": 90})
    tally.began()
    assert tally.started is not None
    tally.started -= 3600
    for number in range(30):
        tally.add(Row(str(number), "done"))
    assert tally.left == 60 and tally.rate * 3600 == pytest.approx(30, rel=1e-3)
    assert tally.said() == "40 of 100 done, 30 an hour, 2 h 00 min left"


def test_what_goes_fast_is_told_by_the_second_too() -> None:
    tally = Tally()
    tally.begin({"new": 40_000})
    tally.began()
    assert tally.started is not None
    tally.started -= 3600
    tally.done = 18_000
    assert tally.said() == "18000 of 40000 done, 18,000 an hour (5 a second), 1 h 13 min left"


def test_a_narrow_terminal_shows_whole_errors_the_newest_first_and_one_line_a_worker() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=60)
    monitor = LiveTable(console)
    with monitor:
        monitor.begin({"new": 300})
        console.print(monitor.table())
        assert "starting workers" in file.getvalue()
        monitor.joined("w1", "host", 7)
        monitor.ended(Row("[b]old", "failed", "no pictures", worker="w1"))
        said = f"{'/a/long/path' * 6}/dataset.json: no labels; write it anew"
        monitor.ended(Row("Größe", "failed", said, worker="w1"))
        monitor.stepped("w1", "山田太郎" * 20, Step("latent", 3, 9))
        shown = Console(file=io.StringIO(), width=60)
        shown.print(monitor.table())
    assert isinstance(shown.file, io.StringIO)
    lines = shown.file.getvalue().splitlines()
    text = "".join(lines)
    assert text.index("write it anew") < text.index("[b]old: no pictures")
    (worker,) = [line for line in lines if line.startswith("w1")]
    assert worker.rstrip().endswith("latent 3/9") and "…" in worker
    assert max(map(cell_len, lines)) <= 60
