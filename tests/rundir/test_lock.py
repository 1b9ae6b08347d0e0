"""One process a run directory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from inv3d.core.errors import RunError
from inv3d.rundir.directory import RunDirectory
from inv3d.rundir.files import LOCK
from inv3d.rundir.lock import held
from tests.children import WARM, started


def hold(path: Path, ready: Connection) -> None:
    with held(path):
        ready.send(True)
        threading.Event().wait()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[BaseProcess]:
    """Another process that is writing the run in `tmp_path`."""
    told, ready = WARM.Pipe(duplex=False)
    process = started(hold, tmp_path, ready)
    ready.close()
    assert told.recv()
    yield process
    process.kill()
    process.join()


def test_another_process_is_named_and_a_killed_one_leaves_nothing_in_the_way(
    tmp_path: Path, holder: BaseProcess
) -> None:
    with pytest.raises(RunError, match=f"process {holder.pid} is writing this run; wait"):
        with held(tmp_path):
            pass
    holder.kill()
    holder.join()
    assert (tmp_path / LOCK).exists()
    with held(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_run_that_is_being_written_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    RunDirectory.create(path, {"status": "running"})
    with held(path):
        with pytest.raises(RunError, match=f"process {os.getpid()} is writing this run"):
            RunDirectory.create(path, {"status": "new"}, overwrite=True)
    assert RunDirectory.create(path, {"status": "new"}, overwrite=True).record["status"] == "new"


def test_a_place_that_cant_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file.\.lock: can't be written"):
        with held(tmp_path / "file"):
            pass
