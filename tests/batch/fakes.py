"""An executor whose workers do what a test says, and a monitor that remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inv3d.batch.facts import Facts
from inv3d.batch.items import Item
from inv3d.batch.messages import Greet, Greeting, Step, Taken, Task
from inv3d.core.executor import Event, Executor, Several, Work
from inv3d.rundir.batch import Row

FACTS = Facts({"3dinv": "1"}, "f" * 16, (), "2.0", 0)
# what a worker makes of a task: a row, or the text of how it was lost; None goes on for ever
Script = Callable[[str, Task], Row | str | None]


def tasks(count: int) -> list[Task]:
    return [Task(Item(f"item{i}", f"/data/item{i}")) for i in range(count)]


def done(worker: str, task: Task) -> Row:
    return Row(task.item.name, "done")


class FakeExecutor(Executor):
    """Workers in name only.

    Attributes:
        script: what they make of tasks.
        facts: worker -> its facts, or why it can't work; those of the driver if it isn't there.
        given: worker and task, in order.
        loads: how many items were given together.
        replaced: workers that others took the place of.
    """

    def __init__(
        self,
        script: Script = done,
        workers: int = 2,
        facts: Mapping[str, Facts | str] | None = None,
    ) -> None:
        self.script = script
        self.count = workers
        self.facts = dict(facts or {})
        self.given: list[tuple[str, Task]] = []
        self.loads: list[int] = []
        self.replaced: list[str] = []
        self.stopped = self.closed = False
        self._events: list[Event] = []

    def open(self, make: Callable[[], Work]) -> Sequence[str]:
        return [f"w{i}" for i in range(self.count)]

    def submit(self, worker: str, task: Any) -> None:
        if isinstance(task, Greet):
            facts = self.facts.get(worker, FACTS)
            if isinstance(facts, str) and facts.startswith("lost"):
                self._events.append(Event(worker, "lost", facts))
                return
            known = (None, facts) if isinstance(facts, str) else (facts, "")
            self._events.append(Event(worker, "done", Greeting("here", 7, *known)))
            return
        if isinstance(task, Several):
            self._several(worker, task)
            return
        self.given.append((worker, task))
        made = self.script(worker, task)
        self._events.append(Event(worker, "said", Step("latent", 1, 2, task.item.name)))
        if isinstance(made, str):
            self._events.append(Event(worker, "lost", made))
        elif made is not None:
            self._events.append(Event(worker, "done", made))

    def _several(self, worker: str, several: Several) -> None:
        """Say a row of each item, until one takes the worker with it or goes on for ever."""
        self.loads.append(len(several.tasks))
        for number, task in enumerate(several.tasks):
            if number % several.at_once == 0:
                # as workers do that read ahead
                self._events.append(Event(worker, "said", Step("reading", item=task.item.name)))
                taken = several.tasks[number : number + several.at_once]
                names = tuple(one.item.name for one in taken)
                self._events.append(Event(worker, "said", Taken(names)))
            self.given.append((worker, task))
            made = self.script(worker, task)
            if isinstance(made, str):
                self._events.append(Event(worker, "lost", made))
            if not isinstance(made, Row):
                return
            self._events.append(Event(worker, "said", made))
        self._events.append(Event(worker, "done", None))

    def poll(self, seconds: float) -> Sequence[Event]:
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self.stopped = True
        for worker, task in self.given[-self.count :]:
            self._events.append(Event(worker, "done", Row(task.item.name, "stopped")))

    def replace(self, worker: str) -> None:
        self.replaced.append(worker)

    def close(self) -> None:
        self.closed = True


class Memory:
    """A monitor that remembers what it was told."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.retries: list[tuple[Row, float]] = []
        self.notes: list[str] = []
        self.steps: list[tuple[str, Step]] = []
        self.order: list[tuple[str, str]] = []

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, found: Mapping[str, int]) -> None:
        self.notes.append(str(dict(found)))

    def joined(self, worker: str, host: str, pid: int) -> None:
        return None

    def began(self, worker: str, item: str) -> None:
        self.order.append(("began", item))

    def stepped(self, worker: str, item: str, step: Step) -> None:
        self.steps.append((item, step))
        self.order.append(("stepped", item))

    def again(self, row: Row, seconds: float) -> None:
        self.retries.append((row, seconds))

    def ended(self, row: Row) -> None:
        self.rows.append(row)
        self.order.append(("ended", row.item))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def tick(self) -> None:
        return None
