"""Several items of a method with steps, taken at the same time: their passes are shared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

from inv3d.batch.messages import Taken, Task
from inv3d.batch.single import Single
from inv3d.core.executor import Tell
from inv3d.core.fit.company import Company


def work_in_company(
    station: Single, tasks: Sequence[Task], most: int, tell: Tell, stopped: Callable[[], bool]
) -> None:
    """Work on items, some at a time, until it's to stop; nothing is said of those not come to.

    Each is worked on as by itself, only that its passes over the views are computed with those of
    the others where they fit together.

    Args:
        station: the worker.
        tasks: the items.
        most: items that are worked on at the same time.
        tell: is told of every item's row.
        stopped: whether to end soon.
    """

    def work(task: Task, among: int) -> None:
        tell(station.work(task, tell, stopped, among=among))

    left = iter(tasks)
    while not stopped() and (some := list(itertools.islice(left, most))):
        tell(Taken(tuple(task.item.name for task in some)))
        Company(most).run([partial(work, task, len(some)) for task in some])
