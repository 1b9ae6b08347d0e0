"""Several runs in one table: rows, best values, CSV, HTML and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inv3d.report.columns import Column, frame_columns, run_columns, united
from inv3d.report.tables import arrow, best, number
from inv3d.rundir.opening import method_of, read_metrics, read_record

PARTS = {"front": "Front view", "rotation": "Rotation", "held_out": "Held-out frames"}
SECONDS = Column("seconds", "Seconds", "lower", 1)


@dataclass(frozen=True)
class ComparedRun:
    """One run: what's in the table of it.

    Attributes:
        name: of its directory.
        method: that made it.
        record: contents of run.json.
        metrics: contents of metrics.json.
    """

    name: str
    method: str
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def views(self) -> str:
        """Chosen views and latents, such as "9 views, 9 latents"."""
        latents = self.metrics["latents"]
        views = self.metrics["views"]["chosen"]
        return f"{views}" if latents == 1 else f"{views} ({latents} latents)"

    def value(self, part: str, column: Column) -> float | None:
        """Return a number of a part ("front", ...) or of the whole run (""); None without one."""
        if column is SECONDS:
            return self.seconds
        if not part and self.metrics["latents"] == 1:
            return None  # 0 for one latent is no achievement
        value: float | None = (self.metrics[part] if part else self.metrics).get(column.key)
        return value

    @property
    def seconds(self) -> float | None:
        """Seconds of the inversion itself, without measuring and pictures."""
        stages = {
            name: value
            for name, value in self.metrics.get("seconds", {}).items()
            if name not in ("metrics", "pictures")
        }
        return sum(stages.values()) if stages else None


def read_runs(directories: Sequence[Path]) -> list[ComparedRun]:
    """Read runs.

    Raises:
        RunError: where one isn't finished or has no metrics.
    """
    runs = []
    for directory in directories:
        record = read_record(directory)
        name = Path(directory).resolve().name
        runs.append(ComparedRun(name, method_of(record), record, read_metrics(directory)))
    return runs


def mismatches(runs: Sequence[ComparedRun]) -> list[str]:
    """Say why the numbers of some runs can't be compared."""
    first, found = runs[0], []
    for other in runs[1:]:
        for what, a, b in (
            ("generator", first.record["generator"]["name"], other.record["generator"]["name"]),
            ("input", first.record["input"]["path"], other.record["input"]["path"]),
            ("metrics", _named(first.metrics["names"]), _named(other.metrics["names"])),
            ("size of the pictures", first.metrics["size"], other.metrics["size"]),
            (
                "number of frames",
                first.metrics["views"]["all"],
                other.metrics["views"]["all"],
            ),
        ):
            if a != b:
                found.append(f"{first.name} and {other.name} differ in {what}: {a} and {b}")
    return found


def _named(metrics: Mapping[str, str]) -> str:
    """Return the losses that serve as metrics, in words."""
    return ", ".join(f"{role} {name}" for role, name in sorted(metrics.items())) or "none"


@dataclass(frozen=True)
class Section:
    """The part of the table that belongs to one set of frames.

    Attributes:
        title: of the part.
        columns: of its numbers.
        cells: for every run a text and whether it's the best, for every column.
    """

    title: str
    columns: tuple[Column, ...]
    cells: list[list[tuple[str, bool]]]


def sections(runs: Sequence[ComparedRun]) -> list[Section]:
    """Return the table: front, rotation, held out, and the runs as a whole.

    Nothing is best where the numbers of some runs can't be compared.
    """
    of_frames = frames_compared(runs)
    parts = [(key, title, of_frames) for key, title in PARTS.items()]
    return [
        _section(runs, key, title, columns)
        for key, title, columns in (*parts, ("", "Whole run", wholes_compared(runs)))
    ]


def frames_compared(runs: Sequence[ComparedRun]) -> tuple[Column, ...]:
    """Return every metric of frames that one of the runs has."""
    return united(frame_columns(run.metrics) for run in runs)


def wholes_compared(runs: Sequence[ComparedRun]) -> tuple[Column, ...]:
    """Return every metric of whole runs that one of the runs has, and the time."""
    return (*united(run_columns(run.metrics) for run in runs), SECONDS)


def _section(
    runs: Sequence[ComparedRun], part: str, title: str, columns: tuple[Column, ...]
) -> Section:
    cells: list[list[tuple[str, bool]]] = [[] for _ in runs]
    comparable = not mismatches(runs)
    for column in columns:
        values = [run.value(part, column) for run in runs]
        winners = best(values, column.better, column.digits) if comparable else set()
        for i, value in enumerate(values):
            cells[i].append((number(value, column.digits), i in winners))
    return Section(title, columns, cells)


def records(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Return one flat record a run, for JSON and CSV."""
    of_frames, of_runs = frames_compared(runs), wholes_compared(runs)
    return [
        {"run": run.name, "method": run.method, "views": run.metrics["views"]["chosen"]}
        | {"latents": run.metrics["latents"]}
        | {f"{p}_{c.key}": run.value(p, c) for p in PARTS for c in of_frames}
        | {c.key: run.value("", c) for c in of_runs}
        for run in runs
    ]


def to_csv(runs: Sequence[ComparedRun]) -> str:
    """Return the flat records as CSV."""
    return csv_of(records(runs))


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return flat records as CSV, with a line of their names first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_html(runs: Sequence[ComparedRun], picture: str = "") -> str:
    """Return a page with the table.

    Args:
        runs: as read.
        picture: data URI of a picture, or empty.
    """
    from inv3d.report.templating import render_template

    shown = [
        {
            "title": section.title,
            "labels": ["run", "method", "views", *labels_of(section)],
            "rows": [
                (run.name, [(run.method, False), (run.views, False), *cells])
                for run, cells in zip(runs, section.cells, strict=True)
            ],
        }
        for section in sections(runs)
    ]
    return render_template(
        "compare.html",
        what="runs",
        names=[run.name for run in runs],
        warnings=mismatches(runs),
        sections=shown,
        picture=picture,
    )


def labels_of(section: Section) -> list[str]:
    """Return the column titles of a section, with arrows."""
    return [f"{column.label} {arrow(column.better)}" for column in section.columns]
