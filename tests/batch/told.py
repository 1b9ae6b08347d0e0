"""What a worker says of several items, and whether it did the same as by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.batch.messages import Greet, Step, Taken, Task
from inv3d.batch.station import Station
from inv3d.core.executor import Several
from inv3d.core.inversion import Inversion
from inv3d.rundir.batch import Row, run_of
from inv3d.rundir.opening import read_metrics, read_record
from tests.blank_plots import blank_plots


class Told:
    """What a worker says of several items.

    Attributes:
        rows: item -> how it ended, in order.
        passes: items that it took at a time.
        steps: what it did.
    """

    def __init__(self, stop_after: int = 99) -> None:
        self.rows: dict[str, Row] = {}
        self.passes: list[tuple[str, ...]] = []
        self.steps: list[Step] = []
        self.stop_after = stop_after

    def __call__(self, said: Any) -> None:
        if isinstance(said, Row):
            assert said.item not in self.rows
            self.rows[said.item] = said
        elif isinstance(said, Taken):
            self.passes.append(said.items)
        else:
            assert isinstance(said, Step) and said.item
            self.steps.append(said)

    def stopped(self) -> bool:
        return sum(row.status == "done" for row in self.rows.values()) >= self.stop_after

    def statuses(self) -> list[str]:
        return [row.status for row in self.rows.values()]


def work_on(worker: Station, tasks: list[Task], at_once: int, stop_after: int = 99) -> Told:
    """Let a worker work on several items."""
    told = Told(stop_after)
    with blank_plots():
        worker(Greet(), told, told.stopped)
        assert worker(Several(tuple(tasks), at_once), told, told.stopped) is None
    return told


def near(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Numbers are the same but for rounding."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        known = value is None or isinstance(value, str)
        assert found[key] == (value if known else pytest.approx(value, rel=1e-4)), key


def same_files(out: Path, other: Path, name: str) -> None:
    """Both run directories have the same files and the same numbers, but for rounding."""
    runs = [run_of(place, name) for place in (out, other)]
    files = [sorted(p.relative_to(run).as_posix() for p in run.rglob("*")) for run in runs]
    assert files[0] == files[1]
    found, expected = (Inversion.load(run) for run in runs)
    torch.testing.assert_close(found.ws, expected.ws, rtol=1e-5, atol=1e-5)
    metrics, others = (read_metrics(run) for run in runs)
    near(metrics["held_out"], others["held_out"])
    records = [read_record(run) for run in runs]
    for record in records:
        for name in ("started", "finished", "seconds", "process", "batch"):
            record.pop(name, None)
    assert records[0] == records[1]
