"""Several runs in one table: rows, best values, CSV, HTML and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from inv3d.report.tables import COLUMNS, WHOLE, Column, arrow, best, number
from inv3d.rundir.opening import method_of, read_metrics, read_record

PARTS = {"front": "Front view", "rotation": "Rotation", "held_out": "Held-out frames"}
SECONDS = Column("seconds", "Seconds", "lower", 1)
RUN_COLUMNS = (*WHOLE, SECONDS)


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
        """Return a number of a part ("front", ...) or of the whole run ("")."""
        if column is SECONDS:
            return self.seconds
        value: float | None = (self.metrics[part] if part else self.metrics)[column.key]
        # 0 for one latent is no achievement
        return None if column in WHOLE and self.metrics["latents"] == 1 else value

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
            ("perceptual and identity metrics", first.metrics["names"], other.metrics["names"]),
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
    """Return the table: front, rotation, held out, and the runs as a whole."""
    parts = [(key, title, COLUMNS) for key, title in PARTS.items()]
    return [
        _section(runs, key, title, columns)
        for key, title, columns in (*parts, ("", "Whole run", RUN_COLUMNS))
    ]


def _section(
    runs: Sequence[ComparedRun], part: str, title: str, columns: tuple[Column, ...]
) -> Section:
    cells: list[list[tuple[str, bool]]] = [[] for _ in runs]
    for column in columns:
        values = [run.value(part, column) for run in runs]
        winners = best(values, column.better, column.digits)
        for i, value in enumerate(values):
            cells[i].append((number(value, column.digits), i in winners))
    return Section(title, columns, cells)


def records(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Return one flat record a run, for JSON and CSV."""
    return [
        {"run": run.name, "method": run.method, "views": run.metrics["views"]["chosen"]}
        | {"latents": run.metrics["latents"]}
        | {f"{p}_{c.key}": run.value(p, c) for p in PARTS for c in COLUMNS}
        | {c.key: run.value("", c) for c in RUN_COLUMNS}
        for run in runs
    ]


def to_csv(runs: Sequence[ComparedRun]) -> str:
    """Return the flat records as CSV."""
    rows = records(runs)
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
    from inv3d.report.html import document, table

    parts = ['<p class="brand">3dinv compare</p>', f"<h1>{len(runs)} runs</h1>"]
    parts += [f'<p class="warnings">{escape(text)}</p>' for text in mismatches(runs)]
    for section in sections(runs):
        labels = ["run", "method", "views", *labels_of(section)]
        rows = [
            (run.name, [(run.method, False), (run.views, False), *cells])
            for run, cells in zip(runs, section.cells, strict=True)
        ]
        parts.append(f"<section><h2>{section.title}</h2>{table(labels, rows)}</section>")
    if picture:
        parts.append(
            "<section><h2>Side by side</h2>"
            f'<figure><img style="max-width:100%" src="{picture}" alt="Targets in the first row, '
            f'then {escape(", ".join(run.name for run in runs), quote=True)}"></figure>'
            "</section>"
        )
    return document(f"{len(runs)} runs compared", "\n".join(parts))


def labels_of(section: Section) -> list[str]:
    """Return the column titles of a section, with arrows."""
    return [f"{column.label} {arrow(column.better)}" for column in section.columns]
