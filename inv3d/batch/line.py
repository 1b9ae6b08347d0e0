"""Several items of a method without steps: read ahead, inverted together, finished one by one."""

from __future__ import annotations

import contextvars
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch

from inv3d.batch.failures import passing
from inv3d.batch.messages import Step, Taken, Task
from inv3d.batch.single import Single
from inv3d.core.executor import Tell
from inv3d.rundir.batch import Row
from inv3d.runs.prepare import PreparedRun
from inv3d.runs.together import invert_together

# threads that read, and seconds between two looks at whether to stop meanwhile
_READERS, _LOOK = 4, 0.2


@dataclass(frozen=True)
class _Reading:
    """An item that is being read, or was."""

    task: Task
    run: Future[PreparedRun]


class Line:
    """A worker's way through several items.

    Threads read ahead as many items as are inverted together. What is read is inverted in one pass;
    where that fails, in two halves, down to single items, so that one that is bad or too large
    spoils no other. Everything after that is done as for a single item. Nothing is written before.
    """

    def __init__(
        self, station: Single, at_once: int, tell: Tell, stopped: Callable[[], bool]
    ) -> None:
        """Get ready.

        Args:
            station: the worker.
            at_once: items that are inverted together at most.
            tell: is told of every item's row.
            stopped: whether to end soon.
        """
        self._station = station
        self._at_once = at_once
        self._tell = tell
        self._stopped = stopped

    def run(self, tasks: Sequence[Task]) -> None:
        """Work on all items, until it's to stop; nothing is said of those it doesn't come to."""
        for row in self._rows(tasks):
            self._tell(row)

    def _rows(self, tasks: Sequence[Task]) -> Iterator[Row]:
        """Yield how items ended, until it's to stop."""
        station, fresh = self._station, []
        for task in tasks:
            if not station.goes_on(task):
                fresh.append(task)
            elif not self._stopped():
                self._tell(Taken((task.item.name,)))
                yield station.work(task, self._tell, self._stopped)
        readings, started = self._read_ahead(fresh), time.perf_counter()
        while group := self._next_group(readings):
            self._tell(Taken(tuple(one.task.item.name for one in group)))
            self._invert([one for one in group if one.run.exception() is None])
            share = (time.perf_counter() - started) / len(group)
            while group:
                if self._stopped():
                    return
                # what an item takes of the memory goes with it
                one = group.pop(0)
                yield station.work(one.task, self._tell, self._stopped, one.run.result, share)
            started = time.perf_counter()

    def _read_ahead(self, tasks: Sequence[Task]) -> Iterator[_Reading]:
        """Yield items whose reading has begun, and begin with further ones meanwhile."""
        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        left, ahead = iter(tasks), deque[_Reading]()
        try:
            while True:
                # as many as are inverted together, besides the one that is handed out
                for task in itertools.islice(left, max(0, self._at_once + 1 - len(ahead))):
                    # what is kept warm is found by the context
                    context = contextvars.copy_context()
                    ahead.append(_Reading(task, pool.submit(context.run, self._station.read, task)))
                if not ahead:
                    return
                yield ahead.popleft()
        finally:
            # a reading that hangs is the driver's to end, with this process
            pool.shutdown(wait=False, cancel_futures=True)

    def _next_group(self, readings: Iterator[_Reading]) -> list[_Reading]:
        """Return the next items to invert together, which are read; none where it's to stop."""
        group = []
        for one in itertools.islice(readings, self._at_once):
            if not self._is_read(one):
                return []
            group.append(one)
        return group

    def _is_read(self, one: _Reading) -> bool:
        """Wait until an item is read, well or not; whether it is, since it may be to stop."""
        if not one.run.done():
            self._tell(Step("reading", item=one.task.item.name))
        while not self._stopped():
            if wait([one.run], timeout=_LOOK).done:
                return True
        return False

    def _invert(self, group: Sequence[_Reading]) -> None:
        """Make the results of some items in one pass; a single one is left for its own run."""
        if len(group) < 2:
            return
        self._tell(Step(f"inverting {len(group)} items", item=group[0].task.item.name))
        try:
            invert_together([one.run.result() for one in group])
            return
        except (Exception, SystemExit) as error:
            too_many = passing(error) == "memory"
        half = len(group) // 2
        if too_many:
            self._at_once = half
            torch.cuda.empty_cache()
        self._invert(group[:half])
        self._invert(group[half:])
