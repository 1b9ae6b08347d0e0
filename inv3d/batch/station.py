"""What a worker does: one item after another, with generator and losses kept warm."""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from inv3d.batch.facts import Facts, check_same, gather
from inv3d.batch.failures import passing
from inv3d.batch.line import Line
from inv3d.batch.messages import Greet, Greeting, Step, Task
from inv3d.batch.pack import work_in_company
from inv3d.batch.plan import Plan, is_whole
from inv3d.core.errors import InputError, InterruptedRun, InvError, printable
from inv3d.core.executor import Ahead, Several, Tell
from inv3d.core.fit.loop import Progress
from inv3d.core.inverter import AnyInverter
from inv3d.core.registry.discovery import registry
from inv3d.core.warm import Store, keeping
from inv3d.io.dataset import is_there
from inv3d.rundir.batch import PREPARED, Row, run_of
from inv3d.rundir.directory import RunDirectory
from inv3d.rundir.files import RECORD
from inv3d.rundir.lock import held
from inv3d.rundir.opening import open_run, read_metrics, run_capture
from inv3d.rundir.record import timestamp
from inv3d.runs.conclude import cause, report_again
from inv3d.runs.execute import resume, start
from inv3d.runs.prepare import PreparedRun, Request, prepare
from inv3d.runs.process import settle_process

# seconds between two words of how far an item is
_TELL_EVERY = 1.0
_LONGEST = 500
# reading threads do this one after another: it computes, and keeps all cores busy by itself
_preparing = threading.Lock()


@dataclass(frozen=True)
class Order:
    """What all items of a batch have in common.

    Attributes:
        out: directory of the batch.
        request: what is asked of each; its input is filled in.
        plan: that goes with it.
        loggers: that watch each run.
        command: the command line, for the records.
        threads: to compute with on the CPU.
        timeout: seconds after which an item is given up, or None.
        facts: that a worker must share which nobody greets; None where that's of no matter.
    """

    out: Path
    request: Request
    plan: Plan
    loggers: Sequence[str] = ()
    command: Sequence[str] = ()
    threads: int = 1
    timeout: float | None = None
    facts: Facts | None = None


@dataclass
class Station:
    """A worker; see `inv3d.core.executor.Work`.

    Attributes:
        order: what is to be done with every item.
        store: what is kept warm.
    """

    order: Order
    store: Store = field(default_factory=dict)
    _settled: bool = False
    _agreed: bool = False

    def __call__(self, task: Any, tell: Tell, stopped: Callable[[], bool]) -> Any:
        """Answer a greeting, or work on items; whatever happens is in what is said of each.

        Args:
            task: `Greet`, `Task`, `Several` or `Ahead` with tasks in it.
            tell: see `Work`.
            stopped: see `Work`.
        """
        with keeping(self.store), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(task, Greet):
                return self._greet()
            if isinstance(task, Ahead):
                return self._ahead(task.task)
            if isinstance(task, Several):
                return self._several(task, tell, stopped)
            return self.work(task, tell, stopped)

    def _several(self, several: Several, tell: Tell, stopped: Callable[[], bool]) -> None:
        """Work on items that can be worked on together, in the way of the method."""
        try:
            self.settle()
        except (Exception, SystemExit):
            # each item will say why
            for task in several.tasks:
                tell(self.work(task, tell, stopped))
            return
        method: type[AnyInverter] = registry().load("methods", self.order.request.method)
        if method.instant:
            Line(self, several.at_once, tell, stopped).run(several.tasks)
        else:
            work_in_company(self, several.tasks, several.at_once, tell, stopped)

    def _greet(self) -> Greeting:
        host, pid = socket.gethostname(), os.getpid()
        try:
            self._settle()
            # what it would work with is judged by the driver
            self._agreed = True
            return Greeting(host, pid, gather(self.order.request))
        except (Exception, SystemExit) as error:
            return Greeting(host, pid, None, _one_line(error))

    def settle(self) -> None:
        """Get ready to work on items; where nobody has judged it yet, see that it would do right.

        Raises:
            InvError: where something is missing, or not what the driver has.
        """
        self._settle()
        if self.order.facts is not None and not self._agreed:
            where = f"process {os.getpid()} on {socket.gethostname()}"
            check_same(self.order.facts, gather(self.order.request), where)
            self._agreed = True

    def _settle(self) -> None:
        """Bring the process into the state that all runs begin in."""
        if not self._settled:
            settle_process()
            self._settled = True
        # a run that went on with another number has left that
        torch.set_num_threads(self.order.threads)

    def work(
        self,
        task: Task,
        tell: Tell,
        stopped: Callable[[], bool],
        read: Callable[[], PreparedRun] | None = None,
        before: float = 0.0,
        among: int = 1,
    ) -> Row:
        """Work on an item.

        Args:
            task: what is to be done.
            tell: see `Work`.
            stopped: see `Work`.
            read: returns what was read of it already, or raises what was in the way.
            before: seconds that it took so far.
            among: items that are worked on at the same time, one of which it is; it takes that
                share of the time.
        """
        timeout = self.order.timeout
        end = None if timeout is None else timeout * among
        watch = _Watch(task.item.name, tell, stopped, end)
        started = time.perf_counter() - before
        row = Row(task.item.name, "done", resumed=self.goes_on(task))
        try:
            self.settle()
            metrics = (
                self._start(read(), task, watch)
                if read is not None
                else self._invert(task, watch, among)
            )
            row = replace(row, metrics=_means(metrics))
        except (InterruptedRun, KeyboardInterrupt) as error:
            late = f"took longer than --item-timeout {timeout:g} s" if watch.late else ""
            row = replace(row, status="failed" if late else "stopped", error=late)
            row = row if late or watch.halt() else replace(row, error=_one_line(error))
        except (Exception, SystemExit) as error:
            row = replace(row, status="failed", error=_one_line(error), passing=passing(error))
        seconds = (time.perf_counter() - started) / among
        return replace(row, seconds=round(seconds, 3), ended=timestamp())

    def _ahead(self, task: Task) -> Task:
        """Make a capture of a picture or clip; where that fails, the worker will say why."""
        if self.goes_on(task):
            return task
        try:
            self.settle()
            made = self._prepared(task, None)
        except (Exception, SystemExit):
            return task
        return replace(task, capture="" if made == task.item.input else made)

    def goes_on(self, task: Task) -> bool:
        """Whether there's a run of an item that is to go on."""
        return not task.afresh and (run_of(self.order.out, task.item.name) / RECORD).is_file()

    def _invert(self, task: Task, watch: _Watch, among: int) -> dict[str, Any]:
        """Bring an item's run to its end, from wherever it is; return the metrics."""
        if not self.goes_on(task):
            watch.say("reading")
            return self._start(self.read(task, watch.tell), task, watch, among)
        directory = RunDirectory.reopen(run_of(self.order.out, task.item.name))
        if directory.is_finished and is_whole(directory.path, self.order.plan):
            # a worker whose driver was killed has brought it to its end since it was planned
            return read_metrics(directory.path)
        _check_there(directory.record["input"]["path"])
        if directory.record.get("status") == "unreported":
            return self._report(directory, watch)
        chunk = directory.record.get("view_chunk") or len(directory.record["input"]["chosen"])
        fewer = max(1, chunk >> task.halvings) if task.halvings else None
        return resume(directory, watch, self.order.loggers, halt=watch.halt, view_chunk=fewer)

    def read(self, task: Task, tell: Callable[[Step], None] | None = None) -> PreparedRun:
        """Read an item; a picture or clip is made a capture first.

        Args:
            task: what is to be done.
            tell: is told how far that is.

        Raises:
            InvError: where it can't be read, or something is missing.
        """
        request = replace(self.order.request, input=self._prepared(task, tell))
        if task.halvings:
            views = request.view_chunk or request.views or 2**task.halvings
            request = replace(request, view_chunk=max(1, views >> task.halvings))
        return prepare(request)

    def _start(self, run: PreparedRun, task: Task, watch: _Watch, among: int = 1) -> dict[str, Any]:
        order = self.order
        together = run.found.runs if run.found else among
        run.halt = watch.halt
        _, metrics = start(
            run,
            run_of(order.out, task.item.name),
            watch,
            overwrite=task.afresh,
            command=order.command,
            loggers=order.loggers,
            batch=order.plan.part(task.item) | ({"together": together} if together > 1 else {}),
        )
        return metrics

    def _prepared(self, task: Task, tell: Callable[[Step], None] | None) -> str:
        """Return the item's capture, which is made of a video or photograph first."""
        from inv3d.photos.raw import is_raw, options_for

        request, source = self.order.request, task.capture or task.item.input
        _check_there(source)
        if not is_raw(source, request.method, request.camera):
            return source
        from inv3d.photos.prepare import prepare_capture
        from inv3d.photos.replacing import made_way

        out = self.order.out / PREPARED / task.item.name
        options = request.options.get("generator", {})
        wanted = options_for(source, request.generator, options)

        def on_progress(what: str, done: int, total: int) -> None:
            if tell is not None:
                tell(Step(what, done, total))

        with _preparing, made_way(out, overwrite=True):
            prepare_capture(wanted, out, on_progress)
        return str(out)

    def _report(self, directory: RunDirectory, watch: _Watch) -> dict[str, Any]:
        """Make the report that a run has been left without."""
        with held(directory.path):
            run = open_run(directory.path, self.order.request.device)
            frames, device = run_capture(run), run.generator.device
            return report_again(directory, run, frames, device=device, on_progress=watch.say)


class _Watch:
    """Shows a run to the driver, and stops it where the driver or the time wants it.

    A `Display` of a run.
    """

    def __init__(
        self, item: str, tell: Tell, stopped: Callable[[], bool], timeout: float | None
    ) -> None:
        self._item = item
        self._tell = tell
        self._stopped = stopped
        self._end = None if timeout is None else time.monotonic() + timeout
        self._told = 0.0
        self.late = False

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def halt(self) -> bool:
        """Whether the run is to stop after this step."""
        self.late = self.late or (self._end is not None and time.monotonic() > self._end)
        return self.late or self._stopped()

    def tell(self, step: Step) -> None:
        """Say how far the item is, if it's time to."""
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY or step.done == 0:
            self._told = now
            self._tell(replace(step, item=self._item))

    def step(self, step: Progress) -> None:
        """Say how far the method is."""
        self.tell(Step(step.stage, step.step + 1, step.steps))

    def say(self, text: str) -> None:
        """Say what the run is doing; what it warns of is in its record."""
        if not text.startswith("warning: "):
            self._tell(Step(text, item=self._item))


def _check_there(capture: str) -> None:
    if not is_there(capture):
        raise InputError(f"{capture}: isn't there; put it back, or take it off the list")


def _means(metrics: dict[str, Any]) -> dict[str, float | None]:
    """Return the means of the held-out frames, or of all where none is held out."""
    found: dict[str, Any] = metrics["held_out" if metrics["views"]["held_out"] else "rotation"]
    return {key: value for key, value in found.items() if not isinstance(value, str)}


def _one_line(error: BaseException) -> str:
    said = str(error) if isinstance(error, InvError) else cause(error)
    return printable(" ".join(said.split()))[:_LONGEST]
