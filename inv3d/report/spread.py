"""Numbers of many runs: how they're spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from inv3d.core.errors import RunError
from inv3d.report.columns import Column
from inv3d.report.compare import PARTS, SECONDS, ComparedRun, read_runs
from inv3d.rundir.batch import run_of
from inv3d.rundir.opening import read_record

# of a run's record and metrics, what tables of many runs don't need: a number a frame, names
_LARGE = ("per_frame", "notes")
_SMALL_INPUT = ("path",)


@dataclass(frozen=True)
class Spread:
    """How numbers are spread.

    Attributes:
        count: how many there are.
        mean, deviation: of them; the deviation is 0 of a single one.
        low, quarter, median, three_quarters, high: the smallest, the quartiles, the largest.
    """

    count: int
    mean: float
    deviation: float
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float

    @staticmethod
    def of(values: Iterable[float]) -> Spread | None:
        """Return the spread of numbers; None of none."""
        known = sorted(values)
        if not known:
            return None
        deviation = stdev(known) if len(known) > 1 else 0.0
        quarter, median, upper = (_quantile(known, share) for share in (0.25, 0.5, 0.75))
        low, high, mean = known[0], known[-1], fmean(known)
        return Spread(len(known), mean, deviation, low, quarter, median, upper, high)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the number below which a share of them lies, between two of them where need be."""
    place = share * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


def finished_runs(out: Path, names: Iterable[str]) -> Iterator[ComparedRun]:
    """Yield the runs of a batch that are finished, without their numbers of single frames.

    Args:
        out: directory of the batch.
        names: of its items.
    """
    for name in names:
        directory = run_of(out, name)
        try:
            if read_record(directory).get("status") != "finished":
                continue
            (run,) = read_runs([directory])
        except RunError:
            continue
        yield _light(run)


def _light(run: ComparedRun) -> ComparedRun:
    source = {name: run.record["input"].get(name) for name in _SMALL_INPUT}
    kept = {"generator": {"name": run.record["generator"]["name"]}, "input": source}
    metrics = {name: value for name, value in run.metrics.items() if name not in _LARGE}
    return replace(run, record=kept, metrics=metrics)


def judged_part(runs: Sequence[ComparedRun]) -> str:
    """Return the frames by which runs are judged: held out where all have such, else all."""
    held_out = all(run.metrics["views"]["held_out"] for run in runs)
    return "held_out" if held_out else "rotation"


def part_title(part: str) -> str:
    """Return what the frames are called in tables."""
    return PARTS[part]


def values_of(runs: Iterable[ComparedRun], part: str, column: Column) -> list[float]:
    """Return a number of every run that has it; seconds are of the whole run."""
    found = (run.value("" if column is SECONDS else part, column) for run in runs)
    return [value for value in found if value is not None]
