"""Several items of a method with steps: taken at the same time, each as by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inv3d.batch.items import Item
from inv3d.batch.messages import Task
from inv3d.batch.station import _Watch
from inv3d.core.fit import company
from inv3d.rundir.batch import run_of
from inv3d.rundir.opening import read_record
from tests.batch.told import near, same_files, work_on
from tests.batch.toy_batch import OPTIONS, STEPS, request, result, station, work, write_captures

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    return write_captures(tmp_path_factory.mktemp("batch"), 5)


@pytest.fixture
def companies(monkeypatch: pytest.MonkeyPatch) -> list[company.Company]:
    """All that there were."""
    made: list[company.Company] = []

    class Seen(company.Company):
        def __init__(self, most: int) -> None:
            super().__init__(most)
            made.append(self)

    monkeypatch.setattr("inv3d.batch.pack.Company", Seen)
    return made


@pytest.mark.parametrize("method", ["wplus", "pti"])
def test_items_that_are_packed_are_those_inverted_alone(
    tmp_path: Path, items: list[Item], companies: list[company.Company], method: str
) -> None:
    options: dict[str, Any] = OPTIONS | ({"tuning": {"steps": 2}} if method == "pti" else {})
    asked = request(method=method, options=options)
    tasks = [Task(item) for item in items]
    told = work_on(station(tmp_path / "packed", asked), tasks, 2)
    assert told.statuses() == ["done"] * 5
    names = [item.name for item in items]
    assert told.passes == [tuple(names[:2]), tuple(names[2:4]), tuple(names[4:])]
    # the first pass shows whether it draws random numbers; tuned weights are nobody else's
    assert [one.shared for one in companies] == [2 * (STEPS - 1), 2 * (STEPS - 1), 0]
    alone = station(tmp_path / "alone", asked)
    for task in tasks:
        near(told.rows[task.item.name].metrics, work(alone, task).metrics)
        same_files(tmp_path / "packed", tmp_path / "alone", task.item.name)
    parts = [read_record(run_of(tmp_path / "packed", name))["batch"] for name in names]
    assert [part.get("together") for part in parts] == [2, 2, 2, 2, None]


def test_one_that_fails_spoils_no_other(tmp_path: Path, items: list[Item]) -> None:
    bad = Item("bad", str(tmp_path / "nowhere"))
    tasks = [Task(items[0]), Task(bad), Task(items[1])]
    told = work_on(station(tmp_path / "out"), tasks, 3)
    assert {name: row.status for name, row in told.rows.items()} == {
        "head0": "done",
        "bad": "failed",
        "head1": "done",
    }
    assert "nowhere" in told.rows["bad"].error


def test_what_was_stopped_goes_on_in_a_pack(tmp_path: Path, items: list[Item]) -> None:
    tasks = [Task(item) for item in items[:2]]
    worker = station(tmp_path / "out")
    assert work(worker, tasks[0], stop=True).status == "stopped"
    told = work_on(worker, tasks, 2)
    assert told.statuses() == ["done"] * 2
    assert told.rows["head0"].resumed and not told.rows["head1"].resumed
    alone = station(tmp_path / "alone")
    for task in tasks:
        work(alone, task)
        same_files(tmp_path / "out", tmp_path / "alone", task.item.name)


def test_no_pack_is_begun_after_the_wish_to_stop(tmp_path: Path, items: list[Item]) -> None:
    told = work_on(station(tmp_path / "out"), [Task(item) for item in items], 2, stop_after=1)
    assert set(told.rows) == {"head0", "head1"}


def test_an_item_has_as_much_longer_as_there_are_others(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []

    class Watch(_Watch):
        def __init__(self, item: str, tell: Any, stopped: Any, timeout: float | None) -> None:
            given.append(timeout)
            super().__init__(item, tell, stopped, timeout)

    monkeypatch.setattr("inv3d.batch.station._Watch", Watch)
    work_on(station(tmp_path / "out", timeout=90.0), [Task(item) for item in items[:3]], 2)
    assert given == [180.0, 180.0, 90.0]
    late = work_on(station(tmp_path / "late", timeout=1e-9), [Task(item) for item in items[:2]], 2)
    assert "took longer than --item-timeout 1e-09 s" in late.rows["head0"].error
    assert late.statuses() == ["failed"] * 2


def test_a_pack_of_one_is_an_item_alone(tmp_path: Path, items: list[Item]) -> None:
    work_on(station(tmp_path / "packed"), [Task(items[0])], 4)
    work(station(tmp_path / "alone"), Task(items[0]))
    assert result(tmp_path / "packed", "head0") == result(tmp_path / "alone", "head0")
