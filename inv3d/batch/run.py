"""A batch from what the user asks for to its summary."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from inv3d.batch.driver import Driver, Policy
from inv3d.batch.facts import Facts, gather
from inv3d.batch.items import Item, find_items
from inv3d.batch.messages import Task
from inv3d.batch.monitor import Monitor
from inv3d.batch.plan import Found, Plan, look
from inv3d.batch.station import Order, Station
from inv3d.core.device import resolve_device
from inv3d.core.errors import InterruptedRun, InvError, RunError, UsageError
from inv3d.core.executor import Executor, Wanted
from inv3d.core.files import not_written
from inv3d.core.inverter import AnyInverter
from inv3d.core.lock import Busy, locked
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hooks import check_executor, open_executor
from inv3d.report.batch import write_summary
from inv3d.rundir.batch import CAPTURES, RUNS, Row, add_row
from inv3d.rundir.files import LOCK
from inv3d.runs.init import methods_that
from inv3d.runs.prepare import Request

# items that are inverted together on a GPU, and how often so many a worker is given at a time
_AT_ONCE, _AHEAD = 8, 4


@dataclass(frozen=True)
class BatchRequest:
    """What a user asks `3dinv batch` for.

    Attributes:
        source: folder, list or zip of captures.
        out: directory of the batch.
        request: of every item; its input is filled in.
        executor: name, with options, such as "ray?address=auto".
        workers, threads: see `Wanted`.
        at_once: items that a method without steps inverts together at most; 8 on CUDA and 1 on the
            CPU if None.
        pack: items of a method with steps that share passes of the generator at most.
        policy: what is done about failures.
        overwrite: make again what was made otherwise, or failed.
        loggers: that watch each run.
        command: the command line, for the records.
    """

    source: Path
    out: Path
    request: Request
    executor: str = "local"
    workers: int | None = None
    threads: int | None = None
    at_once: int | None = None
    pack: int | None = None
    policy: Policy = field(default_factory=Policy)
    overwrite: bool = False
    loggers: Sequence[str] = ()
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How a batch ended.

    Attributes:
        found: state of items before the start -> how many.
        done, failed: items of this time.
    """

    found: Mapping[str, int]
    done: int
    failed: int

    @property
    def total(self) -> int:
        """Items of the batch."""
        return sum(self.found.values())


def run_batch(batch: BatchRequest, monitor: Monitor) -> Outcome:
    """Work on all items that aren't done, and write the summary.

    Raises:
        UsageError: where the input, an option or a worker is not what it should be.
        RunError: where another process is at work on the batch, or no worker is left.
        InterruptedRun: where the user stopped it; everything is kept.
    """
    out = batch.out.absolute()
    check_executor(batch.executor)
    items = find_items(batch.source, out / CAPTURES, out)
    batch = replace(batch, request=_anywhere(batch.request))
    instant = _is_instant(batch)
    facts = gather(replace(batch.request, device="cpu"))
    plan = Plan.of(batch.request, facts)
    with _alone(out):
        found = {item: look(out, item, plan) for item in items}
        counts: Counter[str] = Counter(what.state for what in found.values())
        tasks = _tasks(found, batch.overwrite)
        driver: Driver | None = None
        # stdout is for results, whatever libraries print
        with monitor, contextlib.redirect_stdout(sys.stderr):
            monitor.begin(counts)
            for note in _gone(found):
                monitor.note(note)
            memory = facts.memory * (batch.pack or 1)
            wanted = Wanted(batch.request.device, batch.workers, batch.threads, memory)
            try:
                if tasks:
                    with open_executor(batch.executor, wanted) as executor:
                        driver = _driver(batch, out, plan, facts, executor, monitor)
                        if instant:
                            driver.at_once = _at_once(batch.at_once, executor.device)
                            passes = len(tasks) if executor.whole else _AHEAD
                            driver.load = driver.at_once * (passes if executor.prompt else 1)
                        elif executor.whole:
                            raise UsageError(
                                f"--executor {batch.executor}: is for methods without steps; take "
                                "another one, such as local or ray"
                            )
                        else:
                            driver.at_once = driver.load = batch.pack or 1
                        driver.run(tasks)
            finally:
                _summarise(out, [item.name for item in items], monitor)
    if driver is not None and driver.stopping:
        done = counts["done"] + driver.counts["done"]
        raise InterruptedRun(
            f"stopped with {done} of {len(items)} items done; the same command goes on with them"
        )
    ended = Counter() if driver is None else driver.counts
    return Outcome(counts, ended["done"], ended["failed"])


def _is_instant(batch: BatchRequest) -> bool:
    """Whether the method takes no steps, so that items may be inverted together.

    Raises:
        UsageError: where the user wants that of a method that takes steps, or shared steps of one
            that takes none.
    """
    name = batch.request.method
    method: type[AnyInverter] = registry().load("methods", name)
    if batch.at_once is not None and not method.instant:
        others = ", ".join(methods_that(lambda other: other.instant)) or "none is installed"
        raise UsageError(
            f"--at-once {batch.at_once}: method {name} takes steps, and inverts one item after the "
            f"other; give --pack {batch.at_once}, or take a method that takes none ({others})"
        )
    if batch.pack is not None and method.instant:
        raise UsageError(
            f"--pack {batch.pack}: method {name} takes no steps that could be shared; give "
            f"--at-once {batch.pack}, which inverts several items in one pass"
        )
    return method.instant


def _at_once(wanted: int | None, device: str) -> int:
    """Return how many items are inverted together where memory allows."""
    on_cpu = device == "cpu" or (device == "auto" and resolve_device(device).type == "cpu")
    return wanted or (1 if on_cpu else _AT_ONCE)


def _anywhere(request: Request) -> Request:
    """Return a request that means the same in another working directory."""

    def absolute(path: Path | None) -> Path | None:
        return path.absolute() if path is not None and path.exists() else path

    return replace(request, weights=absolute(request.weights), init=absolute(request.init))


def _driver(
    batch: BatchRequest,
    out: Path,
    plan: Plan,
    facts: Facts,
    executor: Executor,
    monitor: Monitor,
) -> Driver:
    order = Order(
        out,
        replace(batch.request, device=executor.device),
        plan,
        batch.loggers,
        batch.command,
        executor.threads,
        batch.policy.timeout,
        facts,
    )

    def keep(row: Row) -> None:
        # the run directories are what counts; a full disk mustn't end what may go on elsewhere
        try:
            add_row(out, row)
        except InvError as error:
            monitor.note(f"warning: {error}")

    return Driver(executor, functools.partial(Station, order), batch.policy, monitor, keep, facts)


def _tasks(found: Mapping[Item, Found], overwrite: bool) -> list[Task]:
    """Return what there is to do: what was begun comes first.

    Raises:
        UsageError: where runs were made otherwise and mustn't be replaced.
    """
    others = [(item, what) for item, what in found.items() if what.state == "other"]
    if others and not overwrite:
        item, what = others[0]
        raise UsageError(
            f"{len(others)} of {len(found)} items were made otherwise ({item.name}: {what.why}); "
            "give --overwrite to make these again, or another --out"
        )
    order = ("stopped", "new", "failed", "other")
    left = sorted(
        ((item, what.state) for item, what in found.items() if what.state != "done"),
        key=lambda one: order.index(one[1]),
    )
    return [
        Task(item, afresh=state == "other" or (state == "failed" and overwrite))
        for item, state in left
    ]


def _gone(found: Mapping[Item, Found]) -> Iterator[str]:
    """Yield a line where captures of finished items are gone."""
    gone = [(item, what) for item, what in found.items() if what.state == "done" and what.why]
    if gone:
        item, what = gone[0]
        yield (
            f"note: {len(gone)} of {len(found)} items are done and have lost their capture "
            f"({item.name}: {what.why}); their results stand"
        )


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Make the directory, and be the only process that works on the batch.

    Raises:
        RunError: where another one does, or the directory can't be written.
    """
    try:
        (out / RUNS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(out, error) from error
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(out / LOCK, wait=False))
        except Busy as holder:
            raise RunError(
                f"{out}: {holder} is working on this batch; wait for it, or stop it first"
            ) from None
        yield


def _summarise(out: Path, names: Sequence[str], monitor: Monitor) -> None:
    """Write the page; that it can't be written ends nothing."""
    try:
        write_summary(out, names)
    except InvError as error:
        monitor.note(f"warning: no summary: {error}")
