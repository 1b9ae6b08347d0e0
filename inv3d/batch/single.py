"""What is known of a worker by those who give it several items: how it does one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from inv3d.batch.messages import Task
from inv3d.core.executor import Tell
from inv3d.rundir.batch import Row
from inv3d.runs.prepare import PreparedRun


class Single(Protocol):
    """Works on one item; see `inv3d.batch.station.Station`."""

    def goes_on(self, task: Task) -> bool:
        """Whether there's a run of an item that is to go on."""

    def read(self, task: Task) -> PreparedRun:
        """Read an item; raises what is in the way."""

    def work(
        self,
        task: Task,
        tell: Tell,
        stopped: Callable[[], bool],
        read: Callable[[], PreparedRun] | None = None,
        before: float = 0.0,
        among: int = 1,
    ) -> Row:
        """Bring an item to its end, whatever happens."""
