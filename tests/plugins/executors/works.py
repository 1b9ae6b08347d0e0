"""Light work for real worker processes: they start in a moment, since nothing large is imported."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from inv3d.core.executor import Ahead, Executor, Several, Wanted
from inv3d.plugins.executors.local import Local

PATIENCE = 60.0


class Obedient:
    """Does what the task says: ("echo", x), ("die",), ("wait",), ("env", name)."""

    def __call__(self, task: Any, tell: Callable[[Any], None], stopped: Callable[[], bool]) -> Any:
        verb, *rest = task
        tell(f"doing {verb}")
        if verb == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "exit":
            sys.exit(3)
        if verb == "print":
            print("on stdout", flush=True)
        if verb == "env":
            return os.environ.get(rest[0])
        while verb == "wait" and not stopped():
            time.sleep(0.01)
        return (verb, *rest)


def gathered(executor: Executor, count: int) -> list[tuple[str, str, Any]]:
    """Return so many events that aren't said on the way: worker, kind and content."""
    found: list[tuple[str, str, Any]] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < end, f"only {found} came"
        events = executor.poll(0.2)
        found += [(e.worker, e.kind, e.content) for e in events if e.kind != "said"]
    return found


def drive_and_die() -> None:
    """Start a worker that waits, say its number, and be killed: the life of a driver."""
    executor = Local(Wanted("cpu", 1, 1))
    (worker,) = executor.open(Obedient)
    executor.submit(worker, ("env", "nothing"))
    gathered(executor, 1)
    print(executor._workers[worker].process.pid, flush=True)
    executor.submit(worker, ("wait",))
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


class Piecewise:
    """Works on several tasks, numbers that were made ready ahead; a negative one ends the process,
    0 takes for ever.
    """

    def __call__(self, task: Any, tell: Callable[[Any], None], stopped: Callable[[], bool]) -> Any:
        if isinstance(task, Ahead):
            return ("ready", task.task)
        if not isinstance(task, Several):
            return ("alone", task)
        for how, number in task.tasks:
            if number < 0:
                os._exit(1)
            while number == 0:
                time.sleep(1)
            tell((how, number, len(task.tasks)))


if __name__ == "__main__":
    drive_and_die()
