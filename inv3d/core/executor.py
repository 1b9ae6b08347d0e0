"""The contract of executors: where the items of a batch are worked on, and how they're spoken to.

An executor has workers, which are other processes, here or on other machines. It hands tasks to
them and brings back what they say. It knows nothing of captures and runs, and decides nothing: what
is done next, what is tried again and when a worker takes too long is the driver's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

Tell = Callable[[Any], None]


class Work(Protocol):
    """What a worker does with a task; it returns whatever happens, and raises nothing."""

    def __call__(self, task: Any, tell: Tell, stopped: Callable[[], bool]) -> Any:
        """Do a task.

        Args:
            task: plain values that can be pickled.
            tell: sends something to the driver on the way.
            stopped: whether the driver wants the task to end soon.
        """


@dataclass(frozen=True)
class Several:
    """Tasks that a worker is given together; how each ended is said of it, and nothing at last.

    Those of which nothing was said weren't begun.

    Attributes:
        tasks: that can be worked on in any order, and by any worker.
        at_once: how many are worked on together at most.
    """

    tasks: tuple[Any, ...]
    at_once: int = 1


@dataclass(frozen=True)
class Ahead:
    """What can be done of a task before its worker has it; the answer is the task to give it then.

    Attributes:
        task: one of `Several`.
    """

    task: Any


@dataclass(frozen=True)
class Event:
    """What a worker said, or what became of it.

    Attributes:
        worker: its name.
        kind: "said" on the way, "done" at the end of a task, "lost" where the worker is no more.
        content: what was said, what the task returned, or in words how the worker was lost.
    """

    worker: str
    kind: Literal["said", "done", "lost"]
    content: Any


@dataclass(frozen=True)
class Wanted:
    """What a user asks of an executor.

    Attributes:
        device: "auto", "cpu", "cuda" for a device of its own for each worker, or one by its
            number.
        workers: how many; None leaves it to the executor.
        threads: of a worker on the CPU; None leaves it to the executor.
        memory: bytes that a worker takes on the CPU, estimated.
    """

    device: str = "auto"
    workers: int | None = None
    threads: int | None = None
    memory: int = 2 << 30


class Executor(ABC):
    """Workers, here or elsewhere; a context manager.

    Attributes:
        threads: that each worker computes with on the CPU.
        device: that a worker computes on, as it calls it itself.
        prompt: whether what a worker says arrives while it's still at its task.
        whole: whether it's for methods without steps only: its worker is given all items at once.
    """

    threads: int = 1
    device: str = "auto"
    prompt: ClassVar[bool] = True
    whole: ClassVar[bool] = False

    @abstractmethod
    def open(self, make: Callable[[], Work]) -> Sequence[str]:
        """Start the workers and return their names.

        Args:
            make: called in every worker, once; it can be pickled.

        Raises:
            InvError: where there can be none.
        """

    @abstractmethod
    def submit(self, worker: str, task: Any) -> None:
        """Give an idle worker a task; where it turns out to be lost, `poll` says so."""

    @abstractmethod
    def poll(self, seconds: float) -> Sequence[Event]:
        """Return what happened, in the order of each worker; wait for it for so long at most."""

    @abstractmethod
    def stop(self) -> None:
        """Ask all workers to end their tasks soon; they return as usual."""

    @abstractmethod
    def replace(self, worker: str) -> None:
        """End a worker, whatever it's doing, and start one of the same name in its place."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, whatever they're doing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
