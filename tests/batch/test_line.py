"""Several items of an encoder: read ahead, inverted in one pass, finished as by themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.batch.items import Item
from inv3d.batch.messages import Task
from inv3d.plugins.methods.psp import PSP
from inv3d.rundir.batch import items_in, run_of
from inv3d.rundir.opening import read_metrics, read_record
from inv3d.runs.prepare import Request
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.batch.told import near, same_files, work_on
from tests.batch.toy_batch import request, result, station, work, write_captures
from tests.plugins.methods.encoder_trainings import Training

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    return write_captures(tmp_path_factory.mktemp("batch"), 5)


@pytest.fixture(scope="module")
def psp(tmp_path_factory: pytest.TempPathFactory) -> Request:
    folder = tmp_path_factory.mktemp("psp")
    Training("psp", ToyGenerator(ToyConfig()), lr=1e-3).steps(2).save(folder)
    return request(method="psp", options={"weights": str(folder)})


def test_items_inverted_together_are_those_inverted_alone(
    tmp_path: Path, items: list[Item], psp: Request
) -> None:
    tasks = [Task(item) for item in items]
    told = work_on(station(tmp_path / "joint", psp), tasks, 2)
    assert told.statuses() == ["done"] * 5
    names = [item.name for item in items]
    assert told.passes == [tuple(names[:2]), tuple(names[2:4]), tuple(names[4:])]
    alone = station(tmp_path / "alone", psp)
    for task in tasks:
        row = work(alone, task)
        near(told.rows[row.item].metrics, row.metrics)
        same_files(tmp_path / "joint", tmp_path / "alone", row.item)
    parts = [read_record(run_of(tmp_path / "joint", name))["batch"] for name in names]
    assert [part.get("together") for part in parts] == [2, 2, 2, 2, None]
    assert told.rows["head0"].seconds > 0 and read_seconds(tmp_path / "joint", "head0") > 0


def read_seconds(out: Path, name: str) -> float:
    """The time of the inversion, as the metrics say."""
    seconds: float = read_metrics(run_of(out, name))["seconds"]["inversion"]
    return seconds


def test_one_at_a_time_is_the_same_to_the_last_bit(
    tmp_path: Path, items: list[Item], psp: Request
) -> None:
    tasks = [Task(item) for item in items[:3]]
    told = work_on(station(tmp_path / "line", psp), tasks, 1)
    assert [len(names) for names in told.passes] == [1, 1, 1]
    for task in tasks:
        work(station(tmp_path / "alone", psp), task)
        name = task.item.name
        assert result(tmp_path / "line", name) == result(tmp_path / "alone", name)


def test_an_item_that_cant_be_read_fails_alone(
    tmp_path: Path, items: list[Item], psp: Request
) -> None:
    shutil.copytree(items[1].input, tmp_path / "bad")
    (tmp_path / "bad/dataset.json").write_text("{}")
    tasks = [Task(items[0]), Task(Item("bad", str(tmp_path / "bad"))), Task(items[2])]
    told = work_on(station(tmp_path / "out", psp), tasks, 3)
    assert told.statuses() == ["done", "failed", "done"]
    assert "dataset.json" in told.rows["bad"].error and told.rows["bad"].passing == ""
    assert items_in(tmp_path / "out") == ["head0", "head2"]


def test_an_item_that_spoils_the_pass_fails_alone(
    tmp_path: Path, items: list[Item], psp: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    whole = PSP.encode

    def encode(self: Any, generator: Any, views: Any, told: Any) -> Any:
        passes.append(len(told))
        if any(one.capture.source.endswith("head2") for one in told):
            raise RuntimeError("a matrix is singular")
        return whole(self, generator, views, told)

    monkeypatch.setattr(PSP, "encode", encode)
    told = work_on(station(tmp_path, psp), [Task(item) for item in items[:4]], 4)
    assert told.statuses() == ["done", "done", "failed", "done"]
    assert "a matrix is singular" in told.rows["head2"].error
    assert passes == [4, 2, 2, 1, 1]


def test_where_memory_runs_out_fewer_are_inverted_together(
    tmp_path: Path, items: list[Item], psp: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    whole = PSP.encode

    def encode(self: Any, generator: Any, views: Any, told: Any) -> Any:
        passes.append(len(told))
        if len(told) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, generator, views, told)

    monkeypatch.setattr(PSP, "encode", encode)
    told = work_on(station(tmp_path, psp), [Task(item) for item in items], 2)
    assert told.statuses() == ["done"] * 5
    # after the first failure the worker takes one at a time
    assert passes == [2, 1, 1, 1, 1, 1] and [len(names) for names in told.passes] == [2, 1, 1, 1]


def test_a_wish_to_stop_leaves_what_wasnt_finished_untouched(
    tmp_path: Path, items: list[Item], psp: Request
) -> None:
    worker = station(tmp_path, psp)
    told = work_on(worker, [Task(item) for item in items], 2, stop_after=1)
    assert told.statuses() == ["done"]
    assert items_in(tmp_path) == ["head0"]
    again = work_on(worker, [Task(item) for item in items[1:]], 2)
    assert again.statuses() == ["done"] * 4


def test_runs_that_were_begun_go_on_first(tmp_path: Path, items: list[Item], psp: Request) -> None:
    worker = station(tmp_path, psp)
    work(worker, Task(items[2]))
    path = run_of(tmp_path, "head2") / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "running"}))
    before = result(tmp_path, "head2")
    told = work_on(worker, [Task(item) for item in items[:3]], 2)
    assert list(told.rows) == ["head2", "head0", "head1"] and told.statuses() == ["done"] * 3
    assert told.rows["head2"].resumed and result(tmp_path, "head2") == before
