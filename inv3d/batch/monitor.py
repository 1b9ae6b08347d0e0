"""Showing a batch while it goes on: a table on a terminal, plain lines, or JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from inv3d.batch.messages import Step
from inv3d.core.errors import printable
from inv3d.core.files import finite
from inv3d.report.tables import duration, pace
from inv3d.rundir.batch import Row
from inv3d.runs.display import write_nowhere

_ERRORS_SHOWN, _WORKERS_SHOWN = 5, 16
_PLAIN_SECONDS = 30.0


class Monitor(Protocol):
    """What shows a batch; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def begin(self, found: Mapping[str, int]) -> None:
        """Say what there is to do: state of items -> how many."""

    def joined(self, worker: str, host: str, pid: int) -> None:
        """Say that a worker is there."""

    def began(self, worker: str, item: str) -> None:
        """Say that a worker has begun an item."""

    def stepped(self, worker: str, item: str, step: Step) -> None:
        """Say how far it is."""

    def again(self, row: Row, seconds: float) -> None:
        """Say that an item failed and will be tried again."""

    def ended(self, row: Row) -> None:
        """Say how an item ended."""

    def note(self, text: str) -> None:
        """Say something."""

    def tick(self) -> None:
        """Take the time to show what has changed."""


def open_monitor(as_json: bool) -> Monitor:
    """Return JSON lines on stdout, a table where stderr is a terminal, or plain lines."""
    if as_json:
        return JsonLines()
    return LiveTable() if sys.stderr.isatty() else PlainLines()


@dataclass
class Tally:
    """Counts, and what follows from them.

    Attributes:
        total: items that there are.
        before: those that were done already.
        done, failed: of this time.
        started: time of the clock when the first item was begun.
    """

    total: int = 0
    before: int = 0
    done: int = 0
    failed: int = 0
    started: float | None = None

    def begin(self, found: Mapping[str, int]) -> None:
        """Begin to count."""
        self.total, self.before = sum(found.values()), found.get("done", 0)

    def began(self) -> None:
        """Let the time run, which workers need to come doesn't count."""
        self.started = self.started or time.monotonic()

    def add(self, row: Row) -> None:
        """Count an item that ended."""
        self.done += row.status == "done"
        self.failed += row.status == "failed"

    @property
    def left(self) -> int:
        """Items that haven't ended."""
        return self.total - self.before - self.done - self.failed

    @property
    def rate(self) -> float:
        """Items that end in a second, as it went so far."""
        ended, now = self.done + self.failed, time.monotonic()
        return ended / max(now - (self.started or now), 1e-3) if ended else 0.0

    def said(self) -> str:
        """Return the counts, the rate and the time that is left, in words."""
        parts = [f"{self.before + self.done} of {self.total} done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        if self.rate > 0:
            parts.append(pace(self.rate))
            parts += [f"{duration(self.left / self.rate)} left"] if self.left else []
        return ", ".join(parts)


def counted(found: Mapping[str, int]) -> str:
    """Say what there is to do."""
    words = {
        "done": "done already",
        "stopped": "to go on with",
        "failed": "to try again",
        "other": "to make again",
        "new": "new",
    }
    parts = [f"{found[state]} {word}" for state, word in words.items() if found.get(state)]
    return f"{sum(found.values())} items: {', '.join(parts)}"


class PlainLines:
    """A line for every item that ended, and what is worth a line besides."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, found: Mapping[str, int]) -> None:
        """Say what there is to do."""
        self.tally.begin(found)
        self.note(counted(found))

    def joined(self, worker: str, host: str, pid: int) -> None:
        """Say that a worker is there."""
        self.note(f"{worker}: process {pid} on {host}")

    def began(self, worker: str, item: str) -> None:
        """Say nothing: the end of an item is a line."""
        self.tally.began()

    def stepped(self, worker: str, item: str, step: Step) -> None:
        """Say nothing."""

    def again(self, row: Row, seconds: float) -> None:
        """Say that an item is tried again."""
        self.note(f"{row.item}: {row.error}; trying again in {seconds:g} s")

    def ended(self, row: Row) -> None:
        """Say how an item ended."""
        self.tally.add(row)
        said = f"{row.item}: {row.status}" + (f", {row.error}" if row.error else "")
        self.note(f"{said}, {duration(row.seconds)} ({row.worker})")

    def note(self, text: str) -> None:
        """Write a line; where nobody reads any more, go on without."""
        try:
            click.echo(printable(text), err=True)
        except BrokenPipeError:
            write_nowhere(sys.stderr)

    def tick(self) -> None:
        """Write the counts now and then."""
        if time.monotonic() - self._shown >= _PLAIN_SECONDS:
            self._shown = time.monotonic()
            self.note(self.tally.said())


class JsonLines:
    """An object a line on stdout, whose "event" is the name of a method of `Monitor`."""

    def __init__(self) -> None:
        # what libraries print meanwhile goes elsewhere
        self._stream = sys.stdout
        self.tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _say(self, event: str, **facts: Any) -> None:
        """Write a line; where nobody reads any more, go on without."""
        text = json.dumps(finite({"event": event, **facts}), ensure_ascii=False, allow_nan=False)
        try:
            click.echo(text, file=self._stream)
        except BrokenPipeError:
            write_nowhere(self._stream)

    def begin(self, found: Mapping[str, int]) -> None:
        """Say what there is to do."""
        self.tally.begin(found)
        self._say("begin", items=sum(found.values()), **found)

    def joined(self, worker: str, host: str, pid: int) -> None:
        """Say that a worker is there."""
        self._say("joined", worker=worker, host=host, pid=pid)

    def began(self, worker: str, item: str) -> None:
        """Say that a worker has begun an item."""
        self.tally.began()
        self._say("began", worker=worker, item=item)

    def stepped(self, worker: str, item: str, step: Step) -> None:
        """Say how far it is."""
        self._say("stepped", worker=worker, **asdict(replace(step, item=item)))

    def again(self, row: Row, seconds: float) -> None:
        """Say that an item is tried again."""
        self._say("again", wait=seconds, **asdict(row))

    def ended(self, row: Row) -> None:
        """Say how an item ended."""
        self.tally.add(row)
        self._say("ended", a_second=round(self.tally.rate, 6), **asdict(row))

    def note(self, text: str) -> None:
        """Say something."""
        self._say("note", text=text)

    def tick(self) -> None:
        """Do nothing."""


class LiveTable:
    """A table that changes in place: counts, workers with their items, last errors."""

    def __init__(self, console: Console | None = None) -> None:
        self.tally = Tally()
        self._console = console or Console(stderr=True)
        self._workers: dict[str, tuple[str, str]] = {}
        self._errors: deque[Row] = deque(maxlen=_ERRORS_SHOWN)
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self.table)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def table(self) -> Group:
        """Return what is shown now."""
        workers = Table.grid(padding=(0, 2))
        for name, (item, doing) in list(self._workers.items())[:_WORKERS_SHOWN]:
            workers.add_row(_text(name, "dim"), _text(item), _text(doing, "dim"))
        if not self._workers and self.tally.left:
            workers.add_row(_text("starting workers", "dim"))
        more = len(self._workers) - _WORKERS_SHOWN
        # the newest first: where the terminal is too low, the end isn't shown
        failed = reversed(list(self._errors))
        errors = [_whole(f"{row.item}: {row.error}", "red") for row in failed]
        return Group(
            _whole(self.tally.said(), "bold"),
            workers,
            *([_text(f"and {more} workers more", "dim")] if more > 0 else []),
            *errors,
        )

    def begin(self, found: Mapping[str, int]) -> None:
        """Say what there is to do."""
        self.tally.begin(found)
        self.note(counted(found))

    def joined(self, worker: str, host: str, pid: int) -> None:
        """Show a worker."""
        self._workers[worker] = ("", f"{host}, process {pid}")

    def began(self, worker: str, item: str) -> None:
        """Show its item."""
        self.tally.began()
        self._workers[worker] = (item, "")

    def stepped(self, worker: str, item: str, step: Step) -> None:
        """Show how far it is."""
        counts = f" {step.done}/{step.steps}" if step.steps else ""
        self._workers[worker] = (item, f"{step.what}{counts}")

    def again(self, row: Row, seconds: float) -> None:
        """Say that an item is tried again."""
        self.note(f"{row.item}: {row.error}; trying again in {seconds:g} s")

    def ended(self, row: Row) -> None:
        """Count an item, and show its error."""
        self.tally.add(row)
        self._workers[row.worker] = ("", "")
        if row.status == "failed":
            self._errors.append(row)

    def note(self, text: str) -> None:
        """Write a line above the table."""
        self._console.print(_whole(text))

    def tick(self) -> None:
        """Do nothing: the table is drawn in its own time."""


def _whole(text: str, style: str = "") -> Text:
    """Return a text that takes as many lines as it needs: what to do stands at its end."""
    return Text(printable(text), style=style, overflow="fold")


def _text(text: str, style: str = "") -> Text:
    """Return a text that takes one line, and is cut short where that's too narrow."""
    return Text(printable(text), style=style, overflow="ellipsis", no_wrap=True)
