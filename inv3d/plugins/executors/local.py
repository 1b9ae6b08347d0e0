"""Worker processes on this machine: one a GPU, or as many as cores and memory allow."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from inv3d.core.executor import Event, Executor, Wanted, Work
from inv3d.plugins.executors.machine import free_memory, share, usable_cores

_SPAWN = multiprocessing.get_context("spawn")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_THREADS = "OMP_NUM_THREADS"
_STOP = "stop"


@dataclass
class _Worker:
    """A process with the two lines to it.

    Attributes:
        talk: tasks go in, what is said and returned comes out.
        orders: the wish that it stops.
    """

    process: BaseProcess
    talk: Connection
    orders: Connection


class Local(Executor):
    """Processes of this machine; they end with the driver, however it ends."""

    def __init__(self, wanted: Wanted) -> None:
        self._devices = _devices(wanted)
        self.device = "cuda" if self._devices else wanted.device.replace("auto", "cpu")
        cores = usable_cores()
        if self._devices:
            self.threads = wanted.threads or max(1, cores // len(self._devices))
            self._count = len(self._devices)
        elif wanted.workers is not None or self.device != "cpu":
            self._count = wanted.workers or 1
            self.threads = wanted.threads or max(1, cores // self._count)
        else:
            memory = free_memory()
            self._count, self.threads = share(cores, memory, wanted.memory, wanted.threads)
        self._make: Callable[[], Work] | None = None
        self._workers: dict[str, _Worker] = {}

    def open(self, make: Callable[[], Work]) -> Sequence[str]:
        """Start the processes."""
        self._make = make
        for number in range(self._count):
            self._start(f"worker-{number}")
        return list(self._workers)

    def _start(self, name: str) -> None:
        talk, theirs = _SPAWN.Pipe()
        orders, heard = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_serve, args=(self._make, theirs, heard), name=name, daemon=True
        )
        with _environment(self._settings(name)):
            process.start()
        # what only the worker holds ends with it
        theirs.close()
        heard.close()
        self._workers[name] = _Worker(process, talk, orders)

    def _settings(self, name: str) -> dict[str, str]:
        """Return the variables that a worker's process begins with."""
        settings = {_THREADS: str(self.threads)}
        if self._devices:
            settings[_VISIBLE] = self._devices[int(name.rpartition("-")[2])]
        return settings

    def submit(self, worker: str, task: Any) -> None:
        """Send a task."""
        # a broken line is noticed by `poll`, with the reason
        with contextlib.suppress(OSError):
            self._workers[worker].talk.send(task)

    def poll(self, seconds: float) -> Sequence[Event]:
        """Receive what was sent, and notice processes that have ended."""
        names = {worker.talk: name for name, worker in self._workers.items()}
        events: list[Event] = []
        for line in wait(list(names), seconds):
            assert isinstance(line, Connection)
            events += self._received(names[line])
        return events

    def _received(self, name: str) -> Iterator[Event]:
        worker = self._workers[name]
        try:
            while worker.talk.poll():
                kind, content = worker.talk.recv()
                yield Event(name, kind, content)
        except (EOFError, OSError):
            worker.process.join()
            del self._workers[name]
            yield Event(name, "lost", _ending(worker.process.exitcode))

    def stop(self) -> None:
        """Tell all workers."""
        for worker in self._workers.values():
            with contextlib.suppress(OSError):
                worker.orders.send(_STOP)

    def replace(self, worker: str) -> None:
        """Kill a process and start another one."""
        self._kill(worker)
        self._start(worker)

    def close(self) -> None:
        """Kill all processes."""
        for name in list(self._workers):
            self._kill(name)

    def _kill(self, name: str) -> None:
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.process.kill()
            worker.process.join()
            worker.talk.close()
            worker.orders.close()


def _devices(wanted: Wanted) -> list[str]:
    """Return what each worker sees of the machine's GPUs, one each; nothing on the CPU."""
    if wanted.device not in ("auto", "cuda"):
        return []
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = [part.strip() for part in os.environ.get(_VISIBLE, "").split(",")]
    known = [part for part in visible if part][:found] or [str(i) for i in range(found)]
    count = wanted.workers or len(known)
    return [known[number % len(known)] for number in range(count)] if known else []


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Let a process that is started begin with other variables than this one has."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _ending(code: int | None) -> str:
    """Say how a process ended."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"


def _serve(make: Callable[[], Work], talk: Connection, orders: Connection) -> None:
    """Do tasks until the driver is gone; the life of a worker."""
    _be_a_worker()
    work = make()

    def tell(said: Any) -> None:
        # where nobody listens any more, this process is about to end
        with contextlib.suppress(OSError):
            talk.send(("said", said))

    while True:
        try:
            result = work(talk.recv(), tell, orders.poll)
            talk.send(("done", result))
        except (EOFError, OSError):
            return


def _be_a_worker() -> None:
    """Leave signals to the driver, stdout to its results, and end when it ends."""
    if hasattr(os, "setpgid"):
        # Ctrl-C in a terminal is the driver's to answer
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_the_driver, daemon=True).start()


def _end_with_the_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
