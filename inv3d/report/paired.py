"""Batches compared: item by item, so that easy and hard items are no part of the difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inv3d.core.errors import RunError
from inv3d.report.columns import Column
from inv3d.report.compare import (
    SECONDS,
    ComparedRun,
    frames_compared,
    mismatches,
)
from inv3d.report.spread import Spread, finished_runs, judged_part
from inv3d.report.tables import arrow, number
from inv3d.report.templating import render_template
from inv3d.rundir.batch import SUMMARY, items_in

LABELS = ("first", "other", "difference", "median", "better", "items")


@dataclass(frozen=True)
class Pairs:
    """What two batches differ in by one metric.

    Attributes:
        column: the metric.
        first, other: spreads of their numbers, over the items that both have.
        difference: of the pairs, other minus first.
        better: share of the pairs in which the other one is better; None where neither way is.
    """

    column: Column
    first: Spread
    other: Spread
    difference: Spread
    better: float | None


@dataclass(frozen=True)
class ComparedBatch:
    """A batch beside others.

    Attributes:
        name: of its directory.
        method: that made it.
        runs: item -> finished run.
    """

    name: str
    method: str
    runs: Mapping[str, ComparedRun]


def read_batches(directories: Sequence[Path]) -> list[ComparedBatch]:
    """Read batches.

    Raises:
        RunError: where one has no finished run, or no item is finished in all of them.
    """
    batches = []
    for directory in directories:
        runs = {run.name: run for run in finished_runs(directory, items_in(directory))}
        if not runs:
            raise RunError(f"{directory}: no item of this batch is finished; see its {SUMMARY}")
        method = ", ".join(dict.fromkeys(run.method for run in runs.values()))
        batches.append(ComparedBatch(directory.resolve().name, method, runs))
    if not shared(batches):
        names = " and ".join(str(directory) for directory in directories)
        raise RunError(f"{names}: have no finished item of one name; nothing can be compared")
    return batches


def shared(batches: Sequence[ComparedBatch]) -> list[str]:
    """Return the items that are finished in all batches, sorted."""
    return sorted(set.intersection(*(set(batch.runs) for batch in batches)))


def doubts(batches: Sequence[ComparedBatch]) -> Iterator[str]:
    """Say what speaks against comparing the numbers: items that aren't shared, other inputs."""
    names = shared(batches)
    for batch in batches:
        if left := len(batch.runs) - len(names):
            yield f"{batch.name}: {left} of {len(batch.runs)} items aren't finished in all batches"
    for name in names:
        if found := mismatches([batch.runs[name] for batch in batches]):
            yield f"item {name}: {found[0]}"
            return


def paired(batches: Sequence[ComparedBatch], other: ComparedBatch) -> list[Pairs]:
    """Return what a batch differs in from the first one, over the items that all have.

    Args:
        batches: all that are compared.
        other: one of them.
    """
    names = shared(batches)
    runs = [(batches[0].runs[name], other.runs[name]) for name in names]
    part = judged_part([run for pair in runs for run in pair])
    columns = (*frames_compared([run for pair in runs for run in pair]), SECONDS)
    return [made for column in columns if (made := _pairs(runs, part, column)) is not None]


def _pairs(
    runs: Sequence[tuple[ComparedRun, ComparedRun]], part: str, column: Column
) -> Pairs | None:
    where = "" if column is SECONDS else part
    values = [(a.value(where, column), b.value(where, column)) for a, b in runs]
    known = [(a, b) for a, b in values if a is not None and b is not None]
    first, other = Spread.of(a for a, _ in known), Spread.of(b for _, b in known)
    difference = Spread.of(b - a for a, b in known)
    if first is None or other is None or difference is None:
        return None
    sign = {"lower": -1, "higher": 1, "": 0}[column.better]
    better = sum(sign * (b - a) > 0 for a, b in known) / len(known) if sign else None
    return Pairs(column, first, other, difference, better)


def cells(pairs: Pairs) -> list[str]:
    """Return the numbers of a metric as texts, in the order of `LABELS`."""

    def text(spread: Spread) -> str:
        digits = pairs.column.digits
        return f"{number(spread.mean, digits)} ± {number(spread.deviation, digits)}"

    share = "–" if pairs.better is None else f"{pairs.better:.0%}"
    return [
        text(pairs.first),
        text(pairs.other),
        text(pairs.difference),
        number(pairs.difference.median, pairs.column.digits),
        share,
        str(pairs.difference.count),
    ]


def title_of(pairs: Pairs) -> str:
    """Return the metric with its arrow."""
    return f"{pairs.column.label} {arrow(pairs.column.better)}"


def batch_records(batches: Sequence[ComparedBatch]) -> list[dict[str, Any]]:
    """Return one record for every batch but the first and every metric, for JSON and CSV."""
    return [
        {
            "first": batches[0].name,
            "other": other.name,
            "metric": pairs.column.key,
            "items": pairs.difference.count,
            "first_mean": pairs.first.mean,
            "first_deviation": pairs.first.deviation,
            "other_mean": pairs.other.mean,
            "other_deviation": pairs.other.deviation,
            "difference_mean": pairs.difference.mean,
            "difference_deviation": pairs.difference.deviation,
            "difference_median": pairs.difference.median,
            "other_better": pairs.better,
        }
        for other in batches[1:]
        for pairs in paired(batches, other)
    ]


def batches_page(batches: Sequence[ComparedBatch]) -> str:
    """Return a page with a table for every batch but the first."""
    shown = [
        {
            "title": against(batches[0], other),
            "labels": ["", *LABELS],
            "rows": [
                (title_of(pairs), [(text, False) for text in cells(pairs)])
                for pairs in paired(batches, other)
            ],
        }
        for other in batches[1:]
    ]
    return render_template(
        "compare.html",
        what="batches",
        names=[batch.name for batch in batches],
        warnings=list(doubts(batches)),
        sections=shown,
        picture="",
    )


def against(first: ComparedBatch, other: ComparedBatch) -> str:
    """Return the title of a table of two batches."""
    return f"{other.name} ({other.method}) against {first.name} ({first.method})"
