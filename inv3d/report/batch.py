"""The summary of a batch: how its numbers are spread, the worst cases, what failed and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inv3d.core.files import write_text
from inv3d.io.images import Frame
from inv3d.report import plots
from inv3d.report.columns import Column, frame_columns, united
from inv3d.report.compare import SECONDS, ComparedRun
from inv3d.report.spread import Spread, finished_runs, judged_part, part_title, values_of
from inv3d.report.tables import arrow, duration, number
from inv3d.report.templating import render_template
from inv3d.rundir.batch import RUNS, SUMMARY, Row, read_rows, run_of
from inv3d.rundir.files import PREVIEWS, REPORT

SHOWN_WORST, SHOWN_ROWS, SHOWN_NAMES = 12, 500, 8
# pictures of a worst case, and pixels of each
_VIEWS, _SIDE = 6, 96
_SHEET = "targets_vs_reconstructions.png"
_GAP = 4
# items a second from which on they're told so, else by the hour
_BY_THE_SECOND = 0.1
# what worst cases are told by, the first that the runs have
_JUDGES = ("identity", "perceptual", "mse")


@dataclass(frozen=True)
class Failure:
    """Items that failed for the same reason.

    Attributes:
        message: in which names and numbers of single items are left out.
        example: the whole message of the first.
        items: their names, not all where they're many.
        count: how many they are.
    """

    message: str
    example: str
    items: Sequence[str]
    count: int


@dataclass(frozen=True)
class Case:
    """An item with bad numbers.

    Attributes:
        name: of the item.
        link: to its report, relative to the page; empty where it has none.
        numbers: label and number.
        picture: targets over reconstructions over differences, or None.
    """

    name: str
    link: str
    numbers: Sequence[tuple[str, str]]
    picture: Frame | None


def write_summary(out: Path, names: Sequence[str]) -> None:
    """Write the page of a batch.

    Args:
        out: its directory.
        names: of all its items.

    Raises:
        RunError: where it can't be written.
    """
    write_text(out / SUMMARY, summary_page(out, names))


def summary_page(out: Path, names: Sequence[str]) -> str:
    """Return the HTML of a batch's page.

    Args:
        out: its directory.
        names: of all its items.
    """
    runs = list(finished_runs(out, names))
    done = {run.name for run in runs}
    known = read_rows(out)
    rows = [known[name] for name in names if name in known]
    failed = [row for row in rows if row.status == "failed" and row.item not in done]
    part = judged_part(runs)
    every = united(frame_columns(run.metrics) for run in runs)
    columns = [column for column in every if values_of(runs, part, column)]
    judge = _judge(columns)
    ranked = _ranked(runs, part, judge)
    return render_template(
        "batch.html",
        title=out.name,
        facts=_facts(out, runs),
        tiles=_tiles(len(names), runs, failed, rows),
        part=part_title(part),
        spread=_spread_table(runs, part, columns),
        histograms=_histograms(runs, part, columns),
        judge="" if judge is None else judge.label,
        worst=[_case(out, run, part, columns) for run in ranked[:SHOWN_WORST]],
        failures=grouped(failed),
        labels=["item", *(f"{c.label} {arrow(c.better)}" for c in columns), "seconds"],
        rows=[_row(run, part, columns) for run in ranked[:SHOWN_ROWS]],
        left_out=max(0, len(ranked) - SHOWN_ROWS),
    )


def _facts(out: Path, runs: Sequence[ComparedRun]) -> dict[str, str]:
    def said(values: Sequence[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    return {
        "method": said([run.method for run in runs]),
        "generator": said([run.record["generator"]["name"] for run in runs]),
        "directory": str(out),
    }


def _tiles(
    total: int, runs: Sequence[ComparedRun], failed: Sequence[Row], rows: Sequence[Row]
) -> list[tuple[str, str]]:
    """Return the large numbers, each with what it is."""
    seconds = Spread.of(values_of(runs, "", SECONDS))
    tiles = [(f"{len(runs)}", f"of {total} items done"), (f"{len(failed)}", "failed")]
    left = total - len(runs) - len(failed)
    tiles += [(f"{left}", "not done yet")] if left else []
    tiles += [(duration(seconds.median), "median inversion")] if seconds else []
    return tiles + throughput(rows)


def throughput(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return how many items workers ended while they worked, as a large number with its words.

    Args:
        rows: how each item ended; those that weren't brought to their end don't count.
    """
    done = [row for row in rows if row.status == "done" and row.seconds > 0]
    workers = {row.worker for row in done}
    mine = ([row.seconds for row in done if row.worker == worker] for worker in workers)
    rate = sum(len(seconds) / sum(seconds) for seconds in mine)
    if not rate:
        return []
    who = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}"
    if rate >= _BY_THE_SECOND:
        return [(f"{rate:.2g}", f"items a second, {who}")]
    return [(f"{rate * 3600:.3g}", f"items an hour, {who}")]


def _spread_table(
    runs: Sequence[ComparedRun], part: str, columns: Sequence[Column]
) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return a row for every metric: mean, deviation, extremes and quartiles."""
    rows = []
    for column in (*columns, SECONDS):
        spread = Spread.of(values_of(runs, part, column))
        if spread is not None:
            numbers = (
                *(spread.mean, spread.deviation, spread.low, spread.quarter),
                *(spread.median, spread.three_quarters, spread.high),
            )
            cells = [(number(value, column.digits), False) for value in numbers]
            title = f"{column.label} {arrow(column.better)}"
            rows.append((title, [*cells, (str(spread.count), False)]))
    return rows


def _histograms(
    runs: Sequence[ComparedRun], part: str, columns: Sequence[Column]
) -> dict[str, str]:
    """Return title -> SVG of how each metric is spread."""
    drawn = {}
    for column in (*columns, SECONDS):
        values = values_of(runs, part, column)
        if len(values) > 1:
            unit = f" ({column.unit})" if column.unit else ""
            figure = plots.histogram(values, f"{column.label}{unit}")
            drawn[column.label] = plots.inline_svg(figure, f"{column.label} of the items")
    return drawn


def _judge(columns: Sequence[Column]) -> Column | None:
    """Return the metric that worst cases are told by; None where there's none."""
    known = {column.key: column for column in columns}
    return next((known[key] for key in _JUDGES if key in known), None)


def _ranked(runs: Sequence[ComparedRun], part: str, judge: Column | None) -> list[ComparedRun]:
    """Return the runs, the worst first; those without the number come before all."""
    if judge is None:
        return list(runs)
    sign = 1 if judge.better == "higher" else -1

    def key(run: ComparedRun) -> tuple[bool, float]:
        value = run.value(part, judge)
        return value is not None, sign * (value or 0.0)

    return sorted(runs, key=key)


def _case(out: Path, run: ComparedRun, part: str, columns: Sequence[Column]) -> Case:
    numbers = [(c.label, number(run.value(part, c), c.digits)) for c in columns]
    return Case(run.name, _link(out, run.name), numbers, _picture(run_of(out, run.name)))


def _link(out: Path, name: str) -> str:
    return f"{RUNS}/{name}/{REPORT}" if (run_of(out, name) / REPORT).is_file() else ""


def _picture(directory: Path) -> Frame | None:
    """Return some columns of the sheet of targets, reconstructions and differences."""
    import numpy as np
    from PIL import Image

    path = directory / PREVIEWS / _SHEET
    try:
        with Image.open(path) as image:
            sheet = np.asarray(image.convert("RGB"))
    except OSError:
        return None
    side = (sheet.shape[0] + _GAP) // 3
    count = (sheet.shape[1] + _GAP) // side
    shown = [i * count // min(count, _VIEWS) for i in range(min(count, _VIEWS))]
    kept = np.concatenate([sheet[:, i * side : (i + 1) * side] for i in shown], axis=1)
    small = Image.fromarray(kept).resize((_SIDE * len(shown), _SIDE * 3), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _row(
    run: ComparedRun, part: str, columns: Sequence[Column]
) -> tuple[str, list[tuple[str, bool]]]:
    cells = [number(run.value(part, column), column.digits) for column in columns]
    return run.name, [(text, False) for text in (*cells, number(run.seconds, SECONDS.digits))]


def grouped(failed: Sequence[Row]) -> list[Failure]:
    """Return failures with one message as one, the most frequent first."""
    messages = {row.item: _general(row) for row in failed}
    found = []
    for message, count in Counter(messages.values()).most_common():
        mine = [row for row in failed if messages[row.item] == message]
        found.append(Failure(message, mine[0].error, [r.item for r in mine[:SHOWN_NAMES]], count))
    return found


def _general(row: Row) -> str:
    """Return a message without what differs from item to item: its name, paths and numbers."""
    text = re.sub(rf"(?<!\w){re.escape(row.item)}(?!\w)", "…", row.error)
    text = re.sub(r"(?:[A-Za-z]:)?(?:[^\s'\"():;,]*[/\\])+[^\s'\"():;,]*", "…", text)
    return re.sub(r"\d+(?:\.\d+)?", "N", text)
