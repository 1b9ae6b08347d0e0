"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from inv3d.core.fit.loop import Progress as Step

PLAIN_SECONDS = 10.0
_SMOOTHING = 0.9
# seconds a step; a rate of such steps would say nothing
_NO_TIME = 1e-6


class Display(Protocol):
    """What shows a run while it goes on; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def step(self, step: Step) -> None:
        """Show a step."""

    def say(self, text: str) -> None:
        """Show a line."""


def open_display() -> Display:
    """Return bars where stderr is a terminal, plain lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()


class Rate:
    """Steps a second, smoothed; from the time that steps took, so that pauses don't count."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def add(self, seconds: float) -> str:
        """Take a step's time in and return what there is to show; nothing of no time."""
        known = self.seconds or seconds
        self.seconds = _SMOOTHING * known + (1 - _SMOOTHING) * seconds
        return f"{1 / self.seconds:.2f} it/s" if self.seconds > _NO_TIME else ""


class Evaluations:
    """Counts evaluations of a stage, to be shown where its steps search and so make several."""

    def __init__(self) -> None:
        self.steps = self.made = 0

    def add(self, step: Step) -> str:
        """Take a step in and return what there is to show of the stage so far."""
        self.steps, self.made = self.steps + 1, self.made + step.evaluations
        return f"  {self.made} evaluations" if self.made > self.steps else ""


def _loss(step: Step) -> str:
    """Return the loss to be shown; nothing of steps that have none."""
    total = step.losses.get("total")
    return "" if total is None else f"loss {total:.4g}"


class Bars:
    """A rich progress bar for every stage."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[rate]}{task.fields[evaluations]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task: TaskID | None = None
        self.stage = ""
        self.rate = Rate()
        self.evaluations = Evaluations()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def step(self, step: Step) -> None:
        """Move the stage's bar."""
        if self.task is None or step.stage != self.stage:
            self.stage, self.rate, self.evaluations = step.stage, Rate(), Evaluations()
            self.task = self.progress.add_task(
                step.stage, total=step.steps, loss="", rate="", evaluations=""
            )
        self.progress.update(
            self.task,
            completed=step.step + 1,
            loss=_loss(step),
            rate=self.rate.add(step.seconds),
            evaluations=self.evaluations.add(step),
        )

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        self.progress.console.print(text, markup=False, highlight=False)


class Lines:
    """A line when a stage begins, every few seconds, and when it ends."""

    def __init__(self) -> None:
        self.stage = ""
        self.rate = Rate()
        self.evaluations = Evaluations()
        self.shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def step(self, step: Step) -> None:
        """Write a line if it's time for one."""
        if step.stage != self.stage:
            self.stage, self.rate, self.shown = step.stage, Rate(), 0.0
            self.evaluations = Evaluations()
        evaluations = self.evaluations.add(step)
        rate = self.rate.add(step.seconds)
        done = step.step + 1
        if done < step.steps and time.monotonic() - self.shown < PLAIN_SECONDS:
            return
        self.shown = time.monotonic()
        minutes, seconds = divmod(round((step.steps - done) * self.rate.seconds), 60)
        shown = (f"{step.stage} {done}/{step.steps}", _loss(step), rate)
        left = f"{minutes}:{seconds:02} left{evaluations}"
        self.say("  ".join(filter(None, (*shown, left))))

    def say(self, text: str) -> None:
        """Write a line; where its reader has left, as `head` does, the run goes on without."""
        try:
            click.echo(text, err=True)
        except BrokenPipeError:
            write_nowhere(sys.stderr)


def write_nowhere(stream: TextIO) -> None:
    """Let all that is written to a stream vanish, what it still holds included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Told:
    """Tells a function of every step; what there is to say becomes a warning."""

    def __init__(self, on_step: Callable[[Step], None]) -> None:
        self.on_step = on_step

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def step(self, step: Step) -> None:
        """Tell of a step."""
        self.on_step(step)

    def say(self, text: str) -> None:
        """Warn of what is worth a warning; what goes on at the moment isn't."""
        if text.startswith("warning: "):
            warnings.warn(text.removeprefix("warning: "), stacklevel=2)
