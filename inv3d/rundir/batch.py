"""The directory of a batch: a run directory for every item, and the list of how each went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from inv3d.core.errors import RunError
from inv3d.core.files import finite, not_written
from inv3d.rundir.files import RECORD

RUNS = "runs"
# what was unpacked of a zip, and what was made of pictures and clips
CAPTURES = "captures"
PREPARED = "prepared"
ROWS = "batch.jsonl"
SUMMARY = "summary.html"
# of `run.json`: the part that says which item of which batch a run is
PART = "batch"

# done: the run is whole; stopped: it can go on; failed: it can't, for the reason that is said
How = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class Row:
    """How work on an item ended.

    Attributes:
        item: its name.
        status: see `How`.
        error: in one line why it failed; empty otherwise.
        passing: what was in the way, where that may pass: "memory", "disk", "worker" or "busy".
        seconds: that the work took.
        attempts: how often it was begun, this time.
        resumed: whether it went on from where an earlier one was left.
        worker: its name.
        metrics: means of the held-out frames, of all frames where none is held out.
        ended: time, to the second, with its zone.
    """

    item: str
    status: How
    error: str = ""
    passing: str = ""
    seconds: float = 0.0
    attempts: int = 1
    resumed: bool = False
    worker: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    ended: str = ""


def is_batch(path: Path) -> bool:
    """Whether a directory is that of a batch."""
    return (path / RUNS).is_dir() and not (path / RECORD).is_file()


def run_of(out: Path, item: str) -> Path:
    """Return the run directory of an item."""
    return out / RUNS / item


def items_in(out: Path) -> list[str]:
    """Return the names of the items that have a run directory, sorted."""
    return sorted(path.parent.name for path in (out / RUNS).glob(f"*/{RECORD}"))


def add_row(out: Path, row: Row) -> None:
    """Add a line to the list, in one write, so that a kill leaves whole lines.

    Raises:
        RunError: where it can't be written.
    """
    line = json.dumps(finite(asdict(row)), allow_nan=False, ensure_ascii=False) + "\n"
    try:
        with (out / ROWS).open("ab", buffering=0) as file:
            file.write(line.encode())
    except OSError as error:
        raise not_written(out / ROWS, error) from error


def read_rows(out: Path) -> dict[str, Row]:
    """Return item -> how work on it ended last; a line that was cut short is left out.

    Raises:
        RunError: where the list can't be read.
    """
    path, rows = out / ROWS, {}
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
    except OSError as error:
        raise RunError(f"{path}: can't be read ({error.strerror})") from error
    for row in _parsed(lines):
        rows[row.item] = row
    return rows


def _parsed(lines: list[bytes]) -> Iterator[Row]:
    known = Row.__dataclass_fields__
    for line in lines:
        try:
            content = json.loads(line)
            yield Row(**{name: value for name, value in content.items() if name in known})
        except (ValueError, TypeError, AttributeError):
            continue
