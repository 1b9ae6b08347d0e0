"""The executor without other processes: the driver does the work itself, one item at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from inv3d.core.errors import UsageError
from inv3d.core.executor import Event, Executor, Wanted, Work
from inv3d.plugins.executors.machine import usable_cores

_NAME = "here"


class Here(Executor):
    """One worker, this process; for debugging, and where processes can't be started."""

    prompt: ClassVar[bool] = False

    def __init__(self, wanted: Wanted) -> None:
        if wanted.workers not in (None, 1):
            raise UsageError(
                f"--workers {wanted.workers}: executor here has one; take --executor local"
            )
        self.threads = wanted.threads or usable_cores()
        self.device = wanted.device
        self._work: Work | None = None
        self._tasks: list[Any] = []
        self._stopped = False

    def open(self, make: Callable[[], Work]) -> Sequence[str]:
        """Get ready."""
        self._work = make()
        return [_NAME]

    def submit(self, worker: str, task: Any) -> None:
        """Keep a task for the next `poll`."""
        self._tasks.append(task)

    def poll(self, seconds: float) -> Sequence[Event]:
        """Do the task that was given, to its end; wait where there's none."""
        events: list[Event] = []
        tasks, self._tasks = self._tasks, []
        if not tasks:
            time.sleep(seconds)
        for task in tasks:
            assert self._work is not None
            result = self._work(
                task, lambda said: events.append(Event(_NAME, "said", said)), self._is_stopped
            )
            events.append(Event(_NAME, "done", result))
        return events

    def _is_stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Let the task end soon."""
        self._stopped = True

    def replace(self, worker: str) -> None:
        """Do nothing: a process can't end itself and go on."""

    def close(self) -> None:
        """Let go of what is kept warm."""
        self._work = None
