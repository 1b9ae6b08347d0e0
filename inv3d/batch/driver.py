"""Handing items to workers until none is left: order, retries, lost workers, the wish to stop."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from inv3d.batch.facts import Facts, check_same
from inv3d.batch.messages import Greet, Greeting, Step, Taken, Task
from inv3d.batch.monitor import Monitor
from inv3d.core.errors import RunError, UsageError
from inv3d.core.executor import Event, Executor, Several, Work
from inv3d.rundir.batch import How, Row
from inv3d.rundir.record import timestamp

# seconds between two looks at clocks, and for which workers that are slow to come are waited for
_TICK, _GATHER = 0.5, 60.0
# seconds that a worker has to notice that an item took too long, before it's ended
GRACE = 60.0
# so often a worker may be lost before it has answered
_TRIES = 3


@dataclass(frozen=True)
class Policy:
    """What is done about failures.

    Attributes:
        retries: how often an item is tried again where what was in the way may pass.
        wait: seconds before the first of these; twice as long before each further one.
        timeout: seconds that an item may take, or None.
        grace: seconds over which a worker that doesn't notice is ended.
    """

    retries: int = 3
    wait: float = 5.0
    timeout: float | None = None
    grace: float = GRACE


@dataclass(frozen=True)
class _Job:
    """An item with its history.

    Attributes:
        task: what a worker is given.
        attempts: begun before.
        lost: workers that it took with it.
        alone: whether it was among others when their worker was lost, and may have been the reason.
    """

    task: Task
    attempts: int = 0
    lost: int = 0
    alone: bool = False

    @property
    def name(self) -> str:
        """Name of the item."""
        return self.task.item.name

    @property
    def fresh(self) -> bool:
        """Whether it may be handed out together with others."""
        return not self.attempts and not self.alone


@dataclass
class _Load:
    """What a worker was given.

    Attributes:
        jobs: item -> job, of those that haven't ended.
        heard: time of the clock when it was given, or an item of it ended last.
        several: whether there were several.
        taken: items that the worker is at, where it has said so.
        told: items of which the monitor knows.
    """

    jobs: dict[str, _Job]
    heard: float
    several: bool
    taken: tuple[str, ...] = ()
    told: set[str] = field(default_factory=set)

    def suspects(self) -> list[_Job]:
        """Return the jobs of which one may be the reason for a loss."""
        taken = [self.jobs[name] for name in self.taken if name in self.jobs]
        return taken or list(self.jobs.values())


@dataclass
class Driver:
    """Works through a list of tasks.

    It does a fixed amount of work an event, and holds the tasks, the rows of those that failed, and
    counts.

    Attributes:
        executor: has the workers.
        make: what each of them does; can be pickled.
        facts: that every worker must share; None where that's of no matter.
        policy: what is done about failures.
        monitor: shows what happens.
        keep: is given every row.
        at_once: items that a worker inverts together at most.
        load: items that a worker is given at a time at most; more than one where the method takes
            no steps, so that it reads ahead.
    """

    executor: Executor
    make: Callable[[], Work]
    policy: Policy
    monitor: Monitor
    keep: Callable[[Row], None]
    facts: Facts | None = None
    at_once: int = 1
    load: int = 1
    counts: Counter[How] = field(default_factory=Counter)
    stopping: bool = False
    _waiting: deque[_Job] = field(default_factory=deque)
    _later: list[tuple[float, int, _Job]] = field(default_factory=list)
    _busy: dict[str, _Load] = field(default_factory=dict)
    _idle: deque[str] = field(default_factory=deque)
    # workers that haven't answered yet, and how often each was lost before it did
    _coming: dict[str, int] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _signals: int = 0
    _order: Iterator[int] = field(default_factory=itertools.count)

    def run(self, tasks: Iterable[Task]) -> None:
        """Do all tasks, or as many as the user's patience lasts.

        Raises:
            UsageError: where a worker lacks something, or has another version of it.
            RunError: where no worker is left.
            KeyboardInterrupt: where the user wants to stop at once.
        """
        self._waiting.extend(map(_Job, tasks))
        names = self.executor.open(self.make)
        self._gathering_ends = time.monotonic() + _GATHER
        for name in names:
            self._welcome(name, 0)
        with self._signals_heard():
            while self._busy or (not self.stopping and (self._waiting or self._later)):
                self._turn()

    def _turn(self) -> None:
        if self._signals and not self.stopping:
            self._stop()
        self._hand_out()
        for event in self.executor.poll(_TICK):
            self._hear(event)
        self._end_what_hangs()
        self.monitor.tick()

    def _welcome(self, worker: str, lost: int) -> None:
        """Ask a new worker what it would work with."""
        self._coming[worker] = lost
        self.executor.submit(worker, Greet())

    def _hand_out(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._waiting.append(heapq.heappop(self._later)[2])
        if self.stopping or (self._coming and not self._seen_all(now)):
            return
        while self._idle and self._waiting:
            worker, jobs = self._idle.popleft(), self._next_jobs()
            begun = {job.name: replace(job, attempts=job.attempts + 1) for job in jobs}
            several = len(jobs) > 1
            self._busy[worker] = _Load(begun, now, several)
            tasks = tuple(job.task for job in jobs)
            self.executor.submit(worker, Several(tasks, self.at_once) if several else tasks[0])
            # what isn't heard while it's done begins now, as far as anybody can tell
            if not several or not self.executor.prompt:
                self._began(worker, jobs[0].name)

    def _next_jobs(self) -> list[_Job]:
        """Take what a worker is given next: several items, but none that another waits for."""
        workers = len(self._busy) + len(self._idle) + 1
        count = min(self.load, math.ceil(len(self._waiting) / workers))
        jobs = [self._waiting.popleft()]
        while len(jobs) < count and jobs[0].fresh and self._waiting[0].fresh:
            jobs.append(self._waiting.popleft())
        return jobs

    def _seen_all(self, now: float) -> bool:
        """Whether every worker was looked at before the first item, or is too slow to wait for."""
        first = self._seen.issuperset(self._coming)
        return first or now > self._gathering_ends

    def _hear(self, event: Event) -> None:
        if event.kind == "lost":
            self._lost(event.worker, str(event.content))
        elif isinstance(event.content, Greeting):
            self._greeted(event.worker, event.content)
        elif event.worker in self._busy:
            self._said(event.worker, event.content)
            if event.kind == "done":
                self._idle.append(event.worker)
                self._give_back(self._busy.pop(event.worker).jobs.values())

    def _said(self, worker: str, content: Any) -> None:
        load = self._busy[worker]
        if isinstance(content, Taken):
            load.taken = content.items
            for name in content.items:
                self._began(worker, name)
        elif isinstance(content, Step):
            # several items are read ahead, before they're taken
            self._began(worker, content.item)
            self.monitor.stepped(worker, content.item, content)
        elif isinstance(content, Row):
            load.heard = time.monotonic()
            self._ended(load.jobs.pop(content.item), replace(content, worker=worker))

    def _began(self, worker: str, item: str) -> None:
        """Show that an item has begun, once."""
        told = self._busy[worker].told
        if item not in told:
            told.add(item)
            self.monitor.began(worker, item)

    def _give_back(self, jobs: Iterable[_Job], *, alone: bool = False) -> None:
        """Let jobs that a worker didn't come to an end with be next."""
        left = [replace(job, attempts=job.attempts - 1, alone=job.alone or alone) for job in jobs]
        self._waiting.extendleft(reversed(left))

    def _greeted(self, worker: str, greeting: Greeting) -> None:
        lost = self._coming.pop(worker)
        where = f"{worker} (process {greeting.pid} on {greeting.host})"
        if greeting.facts is None and worker in self._seen:
            self._gone(worker, greeting.error, lost + 1)
            return
        if greeting.facts is None:
            raise UsageError(f"{where}: {greeting.error}")
        if self.facts is not None:
            check_same(self.facts, greeting.facts, where)
            if greeting.facts.torch != self.facts.torch:
                self.monitor.note(
                    f"warning: {where} has torch {greeting.facts.torch}, this process "
                    f"{self.facts.torch}; results may differ in their last digits"
                )
        self._seen.add(worker)
        self._idle.append(worker)
        self.monitor.joined(worker, greeting.host, greeting.pid)

    def _lost(self, worker: str, how: str) -> None:
        load = self._busy.pop(worker, None)
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)
        before = self._coming.pop(worker, None)
        self._gone(worker, how, 0 if before is None else before + 1)
        if load is None or self._one_of_several(worker, load):
            return
        for job in load.jobs.values():
            lost = job.lost + 1
            # the first may be anybody's doing; one that is lost again may be too large
            halvings = job.task.halvings + (lost > 1)
            job = replace(job, lost=lost, task=replace(job.task, halvings=halvings))
            self._ended(job, Row(job.name, "failed", f"the worker was lost: {how}", "worker"))

    def _one_of_several(self, worker: str, load: _Load) -> bool:
        """Give back items that a worker had together; those that it was at are tried alone."""
        if not load.several:
            return False
        suspects = load.suspects()
        names = {job.name for job in suspects}
        self._give_back(job for name, job in load.jobs.items() if name not in names)
        self._give_back(suspects, alone=True)
        if suspects:
            also = f" and {len(suspects) - 1} more" if len(suspects) > 1 else ""
            self.monitor.note(f"{worker}: was at {suspects[0].name}{also}; each is tried by itself")
        return True

    def _gone(self, worker: str, how: str, lost: int) -> None:
        """Put another worker into the place of one that is no more, a few times."""
        self.monitor.note(f"{worker}: {how}")
        if self.stopping:
            return
        if lost < _TRIES:
            self.executor.replace(worker)
            self._welcome(worker, lost)
        elif worker not in self._seen:
            raise UsageError(f"{worker}: can't start ({how})")
        elif not (self._busy or self._idle or self._coming):
            raise RunError(f"no worker is left, the last one was {worker} ({how}); start again")

    def _ended(self, job: _Job, row: Row) -> None:
        """Take a row in: the item is done, or tried again, or has failed."""
        row = replace(row, attempts=job.attempts, ended=row.ended or timestamp())
        if row.status == "stopped" and not self.stopping:
            self._stop()
        again = row.status == "failed" and row.passing and job.attempts <= self.policy.retries
        if again and not self.stopping:
            seconds = self.policy.wait * 2 ** (job.attempts - 1)
            task = replace(job.task, afresh=False)
            if row.passing == "memory":
                task = replace(task, halvings=task.halvings + 1)
            when = time.monotonic() + seconds
            heapq.heappush(self._later, (when, next(self._order), replace(job, task=task)))
            self.monitor.again(row, seconds)
            return
        self.counts[row.status] += 1
        self.keep(row)
        self.monitor.ended(row)

    def _end_what_hangs(self) -> None:
        if self.policy.timeout is None:
            return
        timeout, now = self.policy.timeout, time.monotonic()
        limits = {
            worker: load.heard + timeout * (self.at_once if load.several else 1) + self.policy.grace
            for worker, load in self._busy.items()
        }
        for worker in [worker for worker, limit in limits.items() if limit < now]:
            load = self._busy.pop(worker)
            said = f"took longer than --item-timeout {timeout:g} s and didn't stop"
            self._gone(worker, "ended, since its item hangs", 0)
            if not self._one_of_several(worker, load):
                (job,) = load.jobs.values()
                self._ended(job, Row(job.name, "failed", said, worker=worker))

    def _stop(self) -> None:
        self.stopping = True
        self.monitor.note("stopping after this step of each item; once more to stop at once")
        self.executor.stop()

    @contextlib.contextmanager
    def _signals_heard(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the batch in order; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def hear(number: int, frame: Any) -> None:
            self._signals += 1
            if self._signals > 1:
                raise KeyboardInterrupt

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
