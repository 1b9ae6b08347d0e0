"""Worker processes answer, are noticed when they die, and don't outlive the driver."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from inv3d.core.errors import UsageError
from inv3d.core.executor import Wanted
from inv3d.core.registry.hooks import open_executor
from inv3d.plugins.executors.here import Here
from inv3d.plugins.executors.local import Local
from inv3d.plugins.executors.machine import free_memory, share, usable_cores
from tests.plugins.executors.works import PATIENCE, Obedient, gathered


@pytest.fixture
def two() -> Iterator[tuple[Local, list[str]]]:
    with Local(Wanted("cpu", 2, 1)) as executor:
        yield executor, list(executor.open(Obedient))


def test_workers_answer_and_say_things_on_the_way(two: tuple[Local, list[str]]) -> None:
    executor, names = two
    assert names == ["worker-0", "worker-1"] and executor.device == "cpu"
    for number, name in enumerate(names):
        executor.submit(name, ("echo", number))
    found = gathered(executor, 2)
    assert sorted(found) == [(name, "done", ("echo", i)) for i, name in enumerate(names)]
    executor.submit(names[0], ("env", "OMP_NUM_THREADS"))
    assert gathered(executor, 1) == [(names[0], "done", "1")]


def test_a_killed_worker_is_noticed_and_replaced(two: tuple[Local, list[str]]) -> None:
    executor, names = two
    executor.submit(names[0], ("die",))
    executor.submit(names[1], ("echo", 1))
    found = {worker: (kind, content) for worker, kind, content in gathered(executor, 2)}
    assert found[names[0]] == ("lost", "its process was ended by SIGKILL")
    assert found[names[1]][0] == "done"
    executor.replace(names[0])
    executor.submit(names[0], ("echo", 2))
    assert gathered(executor, 1) == [(names[0], "done", ("echo", 2))]
    executor.submit(names[1], ("exit",))
    assert gathered(executor, 1) == [(names[1], "lost", "its process ended with exit code 3")]


def test_workers_stop_when_told_and_end_when_closed(two: tuple[Local, list[str]]) -> None:
    executor, names = two
    for name in names:
        executor.submit(name, ("wait",))
    executor.stop()
    assert {content for _, _, content in gathered(executor, 2)} == {("wait",)}
    processes = [worker.process for worker in executor._workers.values()]
    executor.close()
    assert not any(process.is_alive() for process in processes)


def test_a_worker_ends_with_a_driver_that_is_killed() -> None:
    driver = subprocess.run(
        [sys.executable, "-m", "tests.plugins.executors.works"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert driver.returncode == -9
    worker, end = int(driver.stdout), time.monotonic() + PATIENCE
    while is_alive(worker):
        assert time.monotonic() < end, "the worker lives on"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and wasn't asked for doesn't."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return os.path.exists(f"/proc/{pid}")


def test_what_workers_print_isnt_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with Local(Wanted("cpu", 1, 1)) as executor:
        (name,) = executor.open(Obedient)
        executor.submit(name, ("print",))
        gathered(executor, 1)
    out, err = capfd.readouterr()
    assert out == "" and "on stdout" in err


def test_the_executor_of_this_process_does_it_itself() -> None:
    with Here(Wanted("cpu")) as executor:
        (name,) = executor.open(Obedient)
        executor.submit(name, ("echo", os.getpid()))
        kinds = [(event.kind, event.content) for event in executor.poll(0)]
    assert kinds == [("said", "doing echo"), ("done", ("echo", os.getpid()))]
    with pytest.raises(UsageError, match="executor here has one"):
        Here(Wanted("cpu", 2))


@pytest.mark.parametrize(
    ("cores", "memory", "threads", "shared"),
    [
        (8, None, None, (8, 1)),
        (8, 4 << 30, None, (2, 4)),
        (8, 1 << 20, None, (1, 8)),
        (8, 64 << 30, 4, (2, 4)),
        (1, 64 << 30, 4, (1, 4)),
    ],
)
def test_a_machine_is_shared_by_cores_and_memory(
    cores: int, memory: int | None, threads: int | None, shared: tuple[int, int]
) -> None:
    assert share(cores, memory, 2 << 30, threads) == shared
    assert usable_cores() >= 1 and (free_memory() or 1) > 0


def test_an_executor_that_nobody_offers_or_that_takes_no_such_option() -> None:
    with pytest.raises(UsageError, match="--executor loca: no plugin offers it; did you mean"):
        open_executor("loca", Wanted())
    with pytest.raises(UsageError, match=r"--executor local\?a=1: local has no option 'a'"):
        open_executor("local?a=1", Wanted())
