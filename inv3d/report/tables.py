"""What the columns of metric tables are called, which way is better, how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        key: in metrics.json.
        label: in tables.
        better: which direction.
        digits: after the point.
        unit: in words.
    """

    key: str
    label: str
    better: Better
    digits: int
    unit: str = ""


COLUMNS = (
    Column("mse", "MSE", "lower", 4, "of values in [-1, 1]"),
    Column("psnr", "PSNR", "higher", 2, "dB"),
    Column("perceptual", "Perceptual", "lower", 4),
    Column("ms_ssim", "MS-SSIM", "higher", 3),
    Column("identity", "ID", "higher", 3, "cosine"),
    Column("depth_error", "Depth error", "lower", 4, "world units"),
)
GROUPS = {
    "front": "Front view",
    "rotation": "Rotation (all frames)",
    "chosen": "Chosen frames",
    "held_out": "Held-out frames",
}
WHOLE = (
    Column("depth_consistency", "Depth consistency", "lower", 5, "world units"),
    Column("latent_distance", "Latent distance", "lower", 2),
)


def number(value: float | None, digits: int) -> str:
    """Write a number for people; a dash where there's none."""
    if value is None:
        return "–"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


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
    """Return the table of a run: group name and its numbers in the order of COLUMNS."""
    rows = []
    for key, title in GROUPS.items():
        values = metrics[key]
        if key == "front":
            title = f"{title} ({values['name']})"
        rows.append((title, [number(values[c.key], c.digits) for c in COLUMNS]))
    return rows


def metric_labels(metrics: Mapping[str, Any]) -> list[str]:
    """Return the column titles with arrows, and the losses that judge under their own names."""
    names = metrics["names"]
    return [
        f"{c.label}{f' ({names[c.key]})' if c.key in names else ''} {arrow(c.better)}"
        for c in COLUMNS
    ]


def flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested options as dotted names and texts, as `--set` takes them."""
    rows: list[tuple[str, str]] = []
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, "–" if value is None or value == {} else str(value)))
    return rows


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
