"""Ray Data: items of a method without steps flow through readers and workers of a cluster."""

from __future__ import annotations

import logging
import math
import pickle
import queue
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from inv3d.core.errors import UnsupportedError
from inv3d.core.executor import Ahead, Event, Several, Wanted, Work
from inv3d.plugins.executors.cluster import RayCluster, first_reason

_NAME = "pipeline"
# passes that an actor has, or that wait for it: what's lost with it
_SHORT = {"max_tasks_in_flight_per_actor": 2}


class RayData(RayCluster):
    """A pipeline of Ray Data, which the driver sees as one worker that is given everything.

    Readers, a CPU each, make captures of pictures and clips; workers, a GPU each, decode, invert
    and write. Items that were with a lost worker are given back to the driver, which has another
    actor do them one by one; run directories say what had ended.
    """

    whole: ClassVar[bool] = True

    def __init__(self, wanted: Wanted, readers: int = 1, **options: Any) -> None:
        """Connect.

        Args:
            wanted: what the user asks for.
            readers: how many there are; each takes a CPU.
            options: see `RayCluster`.
        """
        self._readers = readers
        super().__init__(wanted, **options)
        self._data = _imported_data()
        self._flow: _Flow | None = None

    @property
    def besides(self) -> int:
        """CPUs that are taken besides those of workers."""
        return self._readers

    def open(self, make: Callable[[], Work]) -> Sequence[str]:
        """Name the pipeline; it's built when there are items."""
        self._make = make
        return [_NAME]

    def submit(self, worker: str, task: Any) -> None:
        """Let items flow, or have an actor do a single task."""
        if not isinstance(task, Several):
            if worker not in self._actors:
                self._start(worker)
            super().submit(worker, task)
            return
        # whose place is needed
        self._kill(worker)
        passes = math.ceil(len(task.tasks) / task.at_once)
        with warnings.catch_warnings():
            # of arguments that Ray 2.64 won't have
            warnings.simplefilter("ignore", DeprecationWarning)
            rows = self._rows(task, passes)
        self._flow = _Flow()
        threading.Thread(target=_run, args=(rows, passes, self._flow), daemon=True).start()

    def _rows(self, several: Several, passes: int) -> Any:
        """Return a data set, which is worked on when its rows are asked for: one a pass."""
        data = self._data
        packed = [{"task": pickle.dumps(task)} for task in several.tasks]
        flow = data.from_items(packed, override_num_blocks=passes)
        flow = flow.map_batches(
            Reader,
            fn_constructor_args=(self._make,),
            batch_size=None,
            compute=data.ActorPoolStrategy(size=self._readers, **_SHORT),
            num_cpus=1,
            ray_remote_args_fn=self._each,
        )
        return flow.map_batches(
            Encoder,
            fn_constructor_args=(self._make, several.at_once),
            batch_size=None,
            compute=data.ActorPoolStrategy(size=self._count, **_SHORT),
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            ray_remote_args_fn=self._each,
        )

    def _each(self) -> dict[str, Any]:
        """Return what holds of every actor: what kills one isn't given to it again."""
        return {"max_restarts": 0, "max_task_retries": 0, "runtime_env": self._env}

    def poll(self, seconds: float) -> Sequence[Event]:
        """Receive what was said, by the pipeline or by an actor."""
        if self._flow is None:
            return super().poll(seconds)
        try:
            events = [self._flow.events.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self._flow.events.empty():
            events.append(self._flow.events.get())
        if events[-1].kind != "said":
            self._flow = None
        return events

    def stop(self) -> None:
        """Let the pipeline dry up; what was under way goes on at the next start."""
        super().stop()
        if self._flow is not None:
            self._flow.stopped = True
            self._flow.events.put(Event(_NAME, "done", None))

    def replace(self, worker: str) -> None:
        """Give the pipeline up; there's another one with the next items."""
        self._kill(worker)
        if self._flow is not None:
            self._flow.stopped = True
            self._flow = None
            # only with the connection do actors end that Ray Data has made
            self._ray.shutdown()
            self._connect()


@dataclass
class _Flow:
    """Items on their way.

    Attributes:
        events: that nobody has asked for yet.
        stopped: whether nobody will.
    """

    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    stopped: bool = False


def _run(rows: Any, passes: int, flow: _Flow) -> None:
    """Bring items through the pipeline, and say what is said of them."""
    left = passes
    try:
        for row in rows.iter_rows():
            left -= 1
            if flow.stopped:
                return
            for said in pickle.loads(row["said"]):
                flow.events.put(Event(_NAME, "said", said))
    except Exception as error:  # whatever Ray raises
        flow.events.put(Event(_NAME, "lost", first_reason(error)))
        return
    lost = f"{left} passes of its items were lost with their workers"
    flow.events.put(Event(_NAME, "lost", lost) if left else Event(_NAME, "done", None))


class Reader:
    """An actor that does of tasks what can be done ahead."""

    def __init__(self, make: Callable[[], Work]) -> None:
        self._work = make()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Return the tasks to give on."""
        tasks = [pickle.loads(task) for task in batch["task"]]
        ready = [self._work(Ahead(task), _nothing, _never) for task in tasks]
        return {"task": [pickle.dumps(task) for task in ready]}


class Encoder:
    """An actor that works on tasks; what it says comes back when all of a pass have ended."""

    def __init__(self, make: Callable[[], Work], at_once: int) -> None:
        self._work = make()
        self._at_once = at_once

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Return what is said of the tasks, in one row."""
        said: list[Any] = []
        tasks = tuple(pickle.loads(task) for task in batch["task"])
        self._work(Several(tasks, self._at_once), said.append, _never)
        return {"said": [pickle.dumps(said)]}


def _imported_data() -> Any:
    """Return Ray Data, which shows nothing, and lets no item stop the others.

    Raises:
        UnsupportedError: where what it needs isn't installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise UnsupportedError(
            f"--executor ray-data: needs packages of Ray Data ({error}); "
            "pip install 'ray[data]', or take --executor ray"
        ) from error
    for handler in logging.getLogger("ray.data").handlers:
        # its log files have everything
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    return ray.data


def _nothing(said: Any) -> None:
    return None


def _never() -> bool:
    return False
