"""Handing items to workers until none is left: order, retries, lost workers, the wish to stop."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from inv3d.batch.facts import Facts, check_same
from inv3d.batch.monitor import Monitor
from inv3d.batch.station import Greet, Greeting, Step, Task
from inv3d.core.errors import RunError, UsageError
from inv3d.core.executor import Event, Executor, Work
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
    """An item with its history: what is handed out.

    Attributes:
        task: what a worker is given.
        attempts: begun before.
        lost: workers that it took with it.
        begun: time of the clock, where a worker has it.
    """

    task: Task
    attempts: int = 0
    lost: int = 0
    begun: float = 0.0


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
    """

    executor: Executor
    make: Callable[[], Work]
    policy: Policy
    monitor: Monitor
    keep: Callable[[Row], None]
    facts: Facts | None = None
    counts: Counter[How] = field(default_factory=Counter)
    stopping: bool = False
    _waiting: deque[_Job] = field(default_factory=deque)
    _later: list[tuple[float, int, _Job]] = field(default_factory=list)
    _busy: dict[str, _Job] = field(default_factory=dict)
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
            worker, job = self._idle.popleft(), self._waiting.popleft()
            self._busy[worker] = replace(job, attempts=job.attempts + 1, begun=now)
            self.executor.submit(worker, job.task)
            self.monitor.began(worker, job.task.item.name)

    def _seen_all(self, now: float) -> bool:
        """Whether every worker was looked at before the first item, or is too slow to wait for."""
        first = self._seen.issuperset(self._coming)
        return first or now > self._gathering_ends

    def _hear(self, event: Event) -> None:
        if event.kind == "lost":
            self._lost(event.worker, str(event.content))
        elif isinstance(event.content, Greeting):
            self._greeted(event.worker, event.content)
        elif isinstance(event.content, Step):
            job = self._busy.get(event.worker)
            if job is not None:
                self.monitor.stepped(event.worker, job.task.item.name, event.content)
        else:
            job = self._busy.pop(event.worker)
            self._idle.append(event.worker)
            self._ended(job, replace(event.content, worker=event.worker))

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
        job = self._busy.pop(worker, None)
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)
        before = self._coming.pop(worker, None)
        self._gone(worker, how, 0 if before is None else before + 1)
        if job is not None:
            lost = job.lost + 1
            # the first may be anybody's doing; one that is lost again may be too large
            halvings = job.task.halvings + (lost > 1)
            job = replace(job, lost=lost, task=replace(job.task, halvings=halvings))
            item = job.task.item.name
            self._ended(job, Row(item, "failed", f"the worker was lost: {how}", "worker"))

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
        limit = time.monotonic() - self.policy.timeout - self.policy.grace
        for worker in [name for name, job in self._busy.items() if job.begun < limit]:
            job = self._busy.pop(worker)
            said = f"took longer than --item-timeout {self.policy.timeout:g} s and didn't stop"
            self._gone(worker, "ended, since its item hangs", 0)
            self._ended(job, Row(job.task.item.name, "failed", said, worker=worker))

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
