"""Workers on a Ray cluster, or on one that is started here: actors, one a GPU or some cores."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from inv3d.core.errors import UnsupportedError, UsageError, first_line
from inv3d.core.executor import Event, Executor, Wanted, Work
from inv3d.plugins.executors.machine import usable_cores

# seconds for which an actor waits for something to say before it's asked again
_LISTEN = 10.0
# seconds in which a cluster must answer
_PATIENCE = 10.0
# methods of an actor that run at the same time: a task, listening, stopping
_CONCURRENT = 4
_OURS = "INV3D_"
# what Ray adds to each such message
_GUESSES = " Some common causes"


class RayCluster(Executor):
    """Actors of Ray, which keep what is slow to build between items.

    Ray starts and finds processes, and carries messages. Its retries aren't used: a worker that is
    lost is the driver's business, and checkpoints are those of the runs.
    """

    def __init__(
        self,
        wanted: Wanted,
        address: str | None = None,
        cpus: float | None = None,
        gpus: float | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        """Connect.

        Args:
            wanted: what the user asks for.
            address: of the cluster, such as "auto" or "ray://head:10001"; None takes that of
                RAY_ADDRESS, or starts one on this machine.
            cpus: that Ray counts for a worker; its threads if None.
            gpus: that Ray counts for a worker, such as 0.5; one each on CUDA if None.
            runtime_env: of the workers, as Ray takes it.

        Raises:
            UnsupportedError: where Ray isn't installed.
            UsageError: where the cluster can't be reached, or has no room for a worker.
        """
        self._ray = _imported()
        address = address or os.environ.get("RAY_ADDRESS")
        self.threads = wanted.threads or (1 if wanted.workers is None else _threads(wanted.workers))
        self._address, self._wanted = address, wanted
        self._connect()
        there = self._ray.cluster_resources()
        on_gpu = wanted.device.startswith("cuda") or (
            wanted.device == "auto" and there.get("GPU", 0) > 0
        )
        self.device = "cuda" if on_gpu else "cpu"
        self._gpus = (1.0 if gpus is None else gpus) if on_gpu else 0.0
        self._cpus = float(self.threads) if cpus is None else cpus
        self._count = wanted.workers or self._room(there)
        self._env = {"env_vars": self._variables(), **(runtime_env or {})}
        self._make: Callable[[], Work] | None = None
        self._actors: dict[str, Any] = {}
        self._listening: dict[Any, str] = {}

    def _connect(self) -> None:
        address, wanted = self._address, self._wanted
        quiet = {"logging_level": "error", "log_to_driver": False, "configure_logging": False}
        try:
            if address is not None:
                _knock(address)
                self._ray.init(address=address, **quiet)
            else:
                needed = (wanted.workers or 1) * self.threads + self.besides
                cores = max(usable_cores(), needed)
                self._ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
        except Exception as error:  # whatever Ray and gRPC raise
            where = f"the cluster at {address}" if address else "a cluster on this machine"
            raise UsageError(
                f"--executor ray: {where} can't be reached ({first_line(error)}); see that it "
                "runs ('ray status') and give its address, as in --executor 'ray?address=auto'"
            ) from error

    @property
    def besides(self) -> int:
        """CPUs that are taken besides those of workers."""
        return 0

    def _room(self, there: Mapping[str, float]) -> int:
        """Return how many workers a cluster has room for now."""
        rooms = [(there.get("CPU", 0) - self.besides) / self._cpus] if self._cpus else []
        rooms += [there.get("GPU", 0) / self._gpus] if self._gpus else []
        count = int(min(rooms, default=1))
        if count < 1:
            self._ray.shutdown()
            raise UsageError(
                f"--executor ray: the cluster has {there.get('CPU', 0):g} CPUs and "
                f"{there.get('GPU', 0):g} GPUs, and a worker takes {self._cpus:g} and "
                f"{self._gpus:g}; give fewer, as in --executor 'ray?gpus=0.5', or another --device"
            )
        return count

    def _variables(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
        return {**ours, "OMP_NUM_THREADS": str(self.threads)}

    def open(self, make: Callable[[], Work]) -> Sequence[str]:
        """Ask for the actors; each is there when it answers."""
        self._make = make
        names = [f"worker-{number}" for number in range(self._count)]
        for name in names:
            self._start(name)
        return names

    def _start(self, name: str) -> None:
        kind = self._ray.remote(Actor).options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_concurrency=_CONCURRENT,
            max_restarts=0,
            max_task_retries=0,
            runtime_env=self._env,
        )
        self._actors[name] = kind.remote(self._make)
        self._listen(name)

    def _listen(self, name: str) -> None:
        self._listening[self._actors[name].listen.remote(_LISTEN)] = name

    def submit(self, worker: str, task: Any) -> None:
        """Send a task; the answer comes with what is listened to."""
        self._actors[worker].begin.remote(task)

    def poll(self, seconds: float) -> Sequence[Event]:
        """Receive what actors have said."""
        asked = list(self._listening)
        if not asked:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(asked, num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0) if ready else ([], [])
        return [event for ref in dict.fromkeys([*ready, *more]) for event in self._received(ref)]

    def _received(self, ref: Any) -> Iterator[Event]:
        name = self._listening.pop(ref)
        try:
            said = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._actors.pop(name, None)
            yield Event(name, "lost", first_reason(error))
            return
        self._listen(name)
        for kind, content in said:
            yield Event(name, kind, content)

    def stop(self) -> None:
        """Tell all actors."""
        for actor in self._actors.values():
            actor.stop.remote()

    def replace(self, worker: str) -> None:
        """Kill an actor and ask for another one."""
        self._kill(worker)
        self._start(worker)

    def close(self) -> None:
        """Kill all actors and let go of the cluster."""
        for name in list(self._actors):
            self._kill(name)
        self._ray.shutdown()

    def _kill(self, name: str) -> None:
        self._listening = {ref: who for ref, who in self._listening.items() if who != name}
        actor = self._actors.pop(name, None)
        if actor is not None:
            self._ray.kill(actor, no_restart=True)


class Actor:
    """A worker's process: a task runs in a thread, what is said waits until it's listened to."""

    def __init__(self, make: Callable[[], Work]) -> None:
        self._work = make()
        self._stopped = threading.Event()
        self._said: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def begin(self, task: Any) -> None:
        """Do a task to its end."""

        def tell(content: Any) -> None:
            self._said.put(("said", content))

        self._said.put(("done", self._work(task, tell, self._stopped.is_set)))

    def listen(self, seconds: float) -> list[tuple[str, Any]]:
        """Return what was said since the last time; wait for it for so long at most."""
        try:
            said = [self._said.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self._said.empty():
            said.append(self._said.get())
        return said

    def stop(self) -> None:
        """Let the task end soon."""
        self._stopped.set()


def _imported() -> Any:
    """Import Ray, which then tells nobody that it's used.

    Raises:
        UnsupportedError: where it isn't installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # of a cluster that is started here: workers are no less urgent than processes of our own
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError as error:
        raise UnsupportedError(
            f"--executor ray: needs the package ray ({error}); pip install '3dinv[ray]', or take "
            "--executor local"
        ) from error
    return ray


def _knock(address: str) -> None:
    """See that somebody listens at an address; Ray itself asks for minutes where nobody does.

    Raises:
        OSError: where nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()


def _threads(workers: int) -> int:
    return max(1, usable_cores() // workers)


def first_reason(error: Exception) -> str:
    """Say in one line how an actor was lost."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return f"its actor was lost ({last.partition(_GUESSES)[0].rstrip('.')})"
