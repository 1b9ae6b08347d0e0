"""Tables of metrics, and how numbers, durations and options are written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from inv3d.report.columns import Better, frame_columns, run_columns

GROUPS = {
    "front": "Front view",
    "rotation": "Rotation (all frames)",
    "chosen": "Chosen frames",
    "held_out": "Held-out frames",
}


def number(value: float | None, digits: int) -> str:
    """Write a number for people; a dash where there's none."""
    if value is None:
        return "–"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def pace(rate: float) -> str:
    """Write how many items a second end: by the hour, where they're many by the second too.

    Args:
        rate: items a second.
    """
    hourly = f"{rate * 3600:.4g}" if rate < 1 else f"{rate * 3600:,.0f}"
    return f"{hourly} an hour" + (f" ({rate:.2g} a second)" if rate >= 0.1 else "")


def arrow(better: Better) -> str:
    """Return the arrow that says which way is better."""
    return {"lower": "↓", "higher": "↑", "": ""}[better]


def best(values: Sequence[float | None], better: Better, digits: int) -> set[int]:
    """Return the rows with the best value, ties at the written digits included.

    Nothing is best where fewer than two rows have a number.
    """
    known = [v for v in values if v is not None]
    if not better or len(known) < 2:
        return set()
    winner = min(known) if better == "lower" else max(known)
    text = number(winner, digits)
    return {i for i, v in enumerate(values) if v is not None and number(v, digits) == text}


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the table of a run: group name and its numbers in the order of the columns."""
    columns, rows = frame_columns(metrics), []
    for key, title in GROUPS.items():
        values = metrics[key]
        if key == "front":
            title = f"{title} ({values['name']})"
        rows.append((title, [number(values[c.key], c.digits) for c in columns]))
    return rows


def metric_labels(metrics: Mapping[str, Any]) -> list[str]:
    """Return the column titles with arrows."""
    return [f"{c.label} {arrow(c.better)}" for c in frame_columns(metrics)]


def judges_said(metrics: Mapping[str, Any]) -> list[str]:
    """Say which loss judges what: "Perceptual is headfeat (network=b)"."""
    said = []
    for column in frame_columns(metrics):
        if column.key in metrics["names"]:
            name, _, options = metrics["names"][column.key].partition("?")
            given = f" ({options.replace('&', ', ')})" if options else ""
            said.append(f"{column.label} is {name}{given}")
    return said


def labelled_notes(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return why numbers are missing: the label of a metric and the reason."""
    columns = (*frame_columns(metrics), *run_columns(metrics))
    labels = {column.key: column.label for column in columns} | GROUPS
    return [(labels.get(key, key), reason) for key, reason in metrics["notes"].items()]


def flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested options as dotted names and texts, as `--set` takes them."""
    rows: list[tuple[str, str]] = []
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, _typed(value)))
    return rows


def _typed(value: Any) -> str:
    """Write a value as a user types it; a dash where there's none."""
    if value is None or value == {}:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def degrees(angle: float) -> str:
    """Write an angle in whole degrees with its sign where it has one: "+15°", "0°", "180°"."""
    whole = round(angle)
    return f"{abs(whole)}°" if whole in (0, 180, -180) else f"{whole:+d}°"


def duration(seconds: float | None) -> str:
    """Write a duration: "8.2 s", "3 min 20 s", "1 h 05 min"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
