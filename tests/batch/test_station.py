"""A worker brings every item to its end or says why not; what it keeps warm changes nothing."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.batch.facts import gather
from inv3d.batch.items import Item
from inv3d.batch.messages import Greet, Greeting, Task
from inv3d.batch.station import Station
from inv3d.core.executor import Ahead, Several
from inv3d.rundir.batch import Row, run_of
from inv3d.rundir.directory import RunDirectory
from inv3d.rundir.files import RECORD
from inv3d.rundir.lock import held
from inv3d.rundir.opening import read_record
from tests.batch.toy_batch import OPTIONS, request, result, station, work, write_captures

PTI = {**OPTIONS, "tuning": {"steps": 4}}

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    return write_captures(tmp_path_factory.mktemp("batch"), 2)


def test_what_is_kept_warm_changes_nothing(tmp_path: Path, items: list[Item]) -> None:
    asked = request(method="pti", options=PTI)
    warm = station(tmp_path / "warm", asked)
    first, second = items
    for item in (first, second, Item("again", first.input)):
        row = work(warm, Task(item))
        assert (row.item, row.status, row.error) == (item.name, "done", "")
        assert row.metrics["psnr"] is not None and row.ended and row.seconds > 0
    assert result(tmp_path / "warm", "head0") == result(tmp_path / "warm", "again")
    work(station(tmp_path / "cold", asked), Task(second))
    assert result(tmp_path / "cold", "head1") == result(tmp_path / "warm", "head1")
    part = read_record(run_of(tmp_path / "warm", "again"))["batch"]
    assert (part["item"], part["plan"]) == ("again", warm.order.plan.digest)


def test_a_greeting_says_what_it_would_work_with_or_why_not() -> None:
    made = station(Path("out"))(Greet(), print, lambda: False)
    assert isinstance(made, Greeting) and made.facts is not None
    assert made.facts.versions["generator toy"] == "INV3D_PLUGINS" and made.pid
    worker = station(Path("out"))
    object.__setattr__(worker.order, "request", request(generator="tox"))
    made = worker(Greet(), print, lambda: False)
    assert made.facts is None and made.error.startswith("unknown generator 'tox'; did you mean")


def test_a_stopped_item_goes_on_to_the_same_result(tmp_path: Path, items: list[Item]) -> None:
    work(station(tmp_path / "whole"), Task(items[0]))
    worker = station(tmp_path / "parts")
    row = work(worker, Task(items[0]), stop=True)
    assert (row.status, row.error, row.resumed) == ("stopped", "", False)
    assert read_record(run_of(tmp_path / "parts", "head0"))["status"] == "interrupted"
    row = work(worker, Task(items[0]))
    assert (row.status, row.resumed) == ("done", True)
    assert result(tmp_path / "parts", "head0") == result(tmp_path / "whole", "head0")


def test_a_corrupt_item_fails_and_leaves_nothing(tmp_path: Path) -> None:
    broken = write_captures(tmp_path / "captures", 1)[0]
    (Path(broken.input) / "view001.png").write_bytes(b"no picture")
    row = work(station(tmp_path / "out"), Task(broken))
    assert (row.status, row.passing) == ("failed", "")
    assert "view001.png: can't be read as an image" in row.error and "\n" not in row.error
    assert not run_of(tmp_path / "out", "head0").exists()


def test_an_item_that_takes_too_long_is_given_up(tmp_path: Path, items: list[Item]) -> None:
    row = work(station(tmp_path, timeout=1e-6), Task(items[0]))
    assert (row.status, row.passing) == ("failed", "")
    assert row.error == "took longer than --item-timeout 1e-06 s"


@pytest.mark.parametrize(
    ("error", "passing", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "No space left"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory", "out of memory"),
        (RuntimeError("oops"), "", "RuntimeError: oops"),
        (SystemExit("no more of me"), "", "no more of me"),
    ],
)
def test_what_may_pass_is_told_from_what_will_not(
    tmp_path: Path,
    items: list[Item],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    passing: str,
    said: str,
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("inv3d.rundir.directory.RunDirectory.log", refuse)
        row = work(station(tmp_path), Task(items[0]))
    assert (row.status, row.passing) == ("failed", passing) and said in row.error
    assert work(station(tmp_path), Task(items[0])).status == "done"


def test_a_run_that_another_process_writes_is_busy(tmp_path: Path, items: list[Item]) -> None:
    worker = station(tmp_path)
    work(worker, Task(items[0]), stop=True)
    with held(run_of(tmp_path, "head0")):
        row = work(worker, Task(items[0]))
    assert (row.status, row.passing) == ("failed", "busy")


def test_an_item_that_another_process_has_finished_meanwhile_is_done(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was planned, and between a look at its record and the lock; it isn't done twice."""
    worker, item = station(tmp_path), items[0]
    expected = work(worker, Task(item))
    path = run_of(tmp_path, item.name)
    before = {file.name: file.stat().st_mtime_ns for file in path.iterdir()}
    record = read_record(path)
    for status in ("finished", "running"):
        found = RunDirectory(path, {**record, "status": status})
        with monkeypatch.context() as patch:
            patch.setattr(RunDirectory, "reopen", lambda _, found=found: found)
            row = work(worker, Task(item))
        assert (row.status, row.metrics) == ("done", expected.metrics)
    assert {file.name: file.stat().st_mtime_ns for file in path.iterdir()} == before
    # what is no longer whole is made again
    (path / "metrics.json").unlink()
    assert work(worker, Task(item)).metrics == expected.metrics


def test_a_run_without_its_report_gets_it(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    worker = station(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("inv3d.runs.finish.finish_run", full)
        row = work(worker, Task(items[0]))
    assert (row.status, row.passing) == ("failed", "disk")
    before = result(tmp_path, "head0")
    assert work(worker, Task(items[0])).status == "done"
    assert result(tmp_path, "head0") == before
    assert read_record(run_of(tmp_path, "head0"))["status"] == "finished"


def test_halvings_render_fewer_views_at_a_time(tmp_path: Path, items: list[Item]) -> None:
    work(station(tmp_path, request(views=1)), Task(items[0], halvings=1))
    work(station(tmp_path, request(view_chunk=8)), Task(items[1], halvings=2))
    found = [read_record(run_of(tmp_path, name))["view_chunk"] for name in ("head0", "head1")]
    assert found == [1, 2]


def test_an_item_begun_afresh_replaces_what_is_there(tmp_path: Path, items: list[Item]) -> None:
    work(station(tmp_path), Task(items[0]))
    other = station(tmp_path, request(seed=7))
    row = work(other, Task(items[0], afresh=True))
    assert (row.status, row.resumed) == ("done", False)
    assert read_record(run_of(tmp_path, "head0"))["seed"] == 7
    assert not list((tmp_path / "runs").glob(f".*{RECORD}"))


def test_a_clip_becomes_a_capture_beside_the_runs(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(options: Any, out: Path, on_progress: Any) -> None:
        assert options.inputs == (clip,) and options.generator == "toy"
        on_progress("looking", 1, 1)
        shutil.copytree(items[0].input, out)

    clip = tmp_path / "clip.mov"
    clip.touch()
    monkeypatch.setattr("inv3d.photos.prepare.prepare_capture", prepare)
    row = work(station(tmp_path), Task(Item("clip", str(clip))))
    assert (row.status, row.error) == ("done", "")
    made = read_record(run_of(tmp_path, "clip"))["input"]["path"]
    assert made == str(tmp_path / "prepared/clip")


def test_an_item_goes_on_without_the_clip_that_its_capture_was_made_of(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(options: Any, out: Path, on_progress: Any) -> None:
        shutil.copytree(items[0].input, out)

    clip = tmp_path / "clip.mov"
    clip.touch()
    monkeypatch.setattr("inv3d.photos.prepare.prepare_capture", prepare)
    task = Task(Item("clip", str(clip)))
    assert work(station(tmp_path), task, stop=True).status == "stopped"
    clip.unlink()
    row = work(station(tmp_path), task)
    assert (row.status, row.error, row.resumed) == ("done", "", True)


def test_a_clip_can_be_made_a_capture_ahead_of_its_work(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def prepare(options: Any, out: Path, on_progress: Any) -> None:
        made.append(out)
        shutil.copytree(items[0].input, out)

    monkeypatch.setattr("inv3d.photos.prepare.prepare_capture", prepare)
    for name in ("clip.mov", "other.mov"):
        (tmp_path / name).touch()
    task = Task(Item("clip", str(tmp_path / "clip.mov")))
    ready = station(tmp_path)(Ahead(task), print, lambda: False)
    assert ready == replace(task, capture=str(tmp_path / "prepared/clip"))
    row = work(station(tmp_path), ready)
    assert (row.status, row.error) == ("done", "") and made == [tmp_path / "prepared/clip"]
    assert station(tmp_path)(Ahead(ready), print, lambda: False) == ready
    whole = Task(items[1])
    assert station(tmp_path)(Ahead(whole), print, lambda: False) == whole

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("inv3d.photos.prepare.prepare_capture", full)
    other = Task(Item("other", str(tmp_path / "other.mov")))
    assert station(tmp_path)(Ahead(other), print, lambda: False) == other
    assert work(station(tmp_path), other).passing == "disk"


def test_a_worker_that_nobody_greeted_sees_by_itself_that_it_would_do_right(
    tmp_path: Path, items: list[Item]
) -> None:
    facts = gather(request())
    assert work(station(tmp_path, facts=facts), Task(items[0])).status == "done"
    other = station(tmp_path, facts=replace(facts, fingerprint="0" * 16))
    for row in (work(other, Task(items[1])), *several(other, items)):
        assert row.status == "failed" and "its generator has the fingerprint" in row.error
        assert f"process {os.getpid()} on " in row.error
    assert not run_of(tmp_path, "head1").exists()


def several(worker: Station, items: list[Item]) -> list[Row]:
    """What is said of items that are given together."""
    rows: list[Row] = []
    tasks = tuple(Task(Item(f"new{i}", item.input)) for i, item in enumerate(items))
    worker(Several(tasks, 2), rows.append, lambda: False)
    return rows
