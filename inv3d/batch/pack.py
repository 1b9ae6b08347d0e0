"""Several items of a method with steps, taken at the same time: their passes are shared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

from inv3d.batch.messages import Taken, Task
from inv3d.batch.single import Single
from inv3d.core.executor import Tell
from inv3d.core.fit.company import Company


class Pack:
    """A worker's way through items that keep one another company.

    Each is worked on as by itself, only that its passes over the views are computed with those of
    the others where they fit together.
    """

    def __init__(self, station: Single, most: int, tell: Tell, stopped: Callable[[], bool]) -> None:
        """Get ready.

        Args:
            station: the worker.
            most: items that are worked on at the same time.
            tell: is told of every item's row.
            stopped: whether to end soon.
        """
        self._station = station
        self._most = most
        self._tell = tell
        self._stopped = stopped

    def run(self, tasks: Sequence[Task]) -> None:
        """Work on all items, until it's to stop; nothing is said of those it doesn't come to."""
        left = iter(tasks)
        while some := list(itertools.islice(left, self._most)):
            if self._stopped():
                return
            self._tell(Taken(tuple(task.item.name for task in some)))
            Company(self._most).run([partial(self._work, task, len(some)) for task in some])

    def _work(self, task: Task, among: int) -> None:
        self._tell(self._station.work(task, self._tell, self._stopped, among=among))
