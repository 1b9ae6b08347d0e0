"""Every item ends exactly once, whatever workers and users do."""

from __future__ import annotations

import random
import signal
from collections import Counter
from dataclasses import replace

import pytest

from inv3d.batch.driver import Driver, Policy
from inv3d.batch.messages import Task
from inv3d.core.errors import RunError, UsageError
from inv3d.rundir.batch import Row
from tests.batch.fakes import FACTS, FakeExecutor, Memory, Script, done, tasks

AT_ONCE = Policy(retries=3, wait=0.0)


def drive(
    executor: FakeExecutor,
    count: int = 6,
    policy: Policy = AT_ONCE,
    at_once: int = 1,
    load: int = 1,
) -> tuple[Driver, Memory, list[Row]]:
    """Work through some items; also return the rows that were kept."""
    kept: list[Row] = []
    driver = Driver(executor, dict, policy, Memory(), kept.append, FACTS)  # type: ignore[arg-type]
    driver.at_once, driver.load = at_once, load
    with executor:
        driver.run(tasks(count))
    assert isinstance(driver.monitor, Memory)
    return driver, driver.monitor, kept


def test_every_item_is_done_once() -> None:
    executor = FakeExecutor(workers=3)
    driver, monitor, kept = drive(executor, 20)
    assert [row.item for row in kept] == [f"item{i}" for i in range(20)]
    assert driver.counts == {"done": 20} and monitor.rows == kept
    assert Counter(worker for worker, _ in executor.given) == {"w0": 7, "w1": 7, "w2": 6}
    assert executor.closed and {row.worker for row in kept} == {"w0", "w1", "w2"}
    assert len(monitor.steps) == 20


def failing(error: str, passing: str, times: int) -> tuple[Script, Counter[str]]:
    """Let the third item fail so often."""
    tried: Counter[str] = Counter()

    def script(worker: str, task: Task) -> Row:
        tried[task.item.name] += 1
        if task.item.name == "item2" and tried["item2"] <= times:
            return Row("item2", "failed", error, passing)
        return done(worker, task)

    return script, tried


def test_what_may_pass_is_tried_again_with_longer_and_longer_waits() -> None:
    script, tried = failing("disk full", "disk", 2)
    driver, monitor, kept = drive(FakeExecutor(script), policy=Policy(3, wait=0.01))
    assert driver.counts == {"done": 6} and tried["item2"] == 3
    assert [seconds for _, seconds in monitor.retries] == [0.01, 0.02]
    (row,) = [row for row in kept if row.item == "item2"]
    assert row.attempts == 3


def test_tries_have_an_end() -> None:
    script, tried = failing("disk full", "disk", 99)
    driver, _, kept = drive(FakeExecutor(script), policy=Policy(2, wait=0.0))
    assert driver.counts == {"done": 5, "failed": 1} and tried["item2"] == 3
    assert sorted(row.item for row in kept) == [f"item{i}" for i in range(6)]


def test_bad_input_is_tried_once() -> None:
    script, tried = failing("no images found", "", 99)
    driver, _, _ = drive(FakeExecutor(script))
    assert driver.counts == {"done": 5, "failed": 1} and tried["item2"] == 1


def test_out_of_memory_is_tried_again_with_fewer_views_at_a_time() -> None:
    executor = FakeExecutor(failing("out of memory", "memory", 2)[0])
    drive(executor)
    halvings = [task.halvings for _, task in executor.given if task.item.name == "item2"]
    assert halvings == [0, 1, 2]


def test_a_lost_worker_is_replaced_and_its_item_tried_again() -> None:
    tried: Counter[str] = Counter()

    def script(worker: str, task: Task) -> Row | str:
        tried[task.item.name] += 1
        return "killed" if tried[task.item.name] == 1 else done(worker, task)

    executor = FakeExecutor(script)
    driver, monitor, kept = drive(executor, 4)
    assert driver.counts == {"done": 4} and len(executor.replaced) == 4
    assert len({row.item for row in kept}) == 4 and {row.attempts for row in kept} == {2}
    assert "the worker was lost: killed" in monitor.retries[0][0].error


def test_an_item_that_kills_its_workers_fails_alone() -> None:
    def script(worker: str, task: Task) -> Row | str:
        return "killed" if task.item.name == "item1" else done(worker, task)

    executor = FakeExecutor(script)
    driver, _, _ = drive(executor)
    assert driver.counts == {"done": 5, "failed": 1}
    assert [t.halvings for _, t in executor.given if t.item.name == "item1"] == [0, 0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_workers_lost_at_random_cost_no_item_and_double_none(seed: int) -> None:
    dice = random.Random(seed)

    def script(worker: str, task: Task) -> Row | str:
        return "killed" if dice.random() < 0.3 else done(worker, task)

    driver, _, kept = drive(FakeExecutor(script, workers=4), 60, Policy(50, wait=0.0))
    assert driver.counts == {"done": 60}
    assert Counter(row.item for row in kept) == {f"item{i}": 1 for i in range(60)}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (replace(FACTS, versions={"3dinv": "0"}), "w1 (process 7 on here): has 3dinv 0, and this"),
        (replace(FACTS, versions={}), "has 3dinv nothing, and this process 1; install the same"),
        (replace(FACTS, fingerprint="0" * 16), "its generator has the fingerprint 0000"),
        (replace(FACTS, files=("a",)), "the weight files of its method and losses aren't those"),
        (replace(FACTS, init=("a",)), "the files that --init stands for aren't those of this"),
        ("unknown method 'x'", "w1 (process 7 on here): unknown method 'x'"),
        ("lost: no module inv3d", "w1: can't start (lost: no module inv3d)"),
    ],
)
def test_a_worker_that_would_do_otherwise_ends_it_before_the_first_item(
    facts: object, said: str
) -> None:
    executor = FakeExecutor(facts={"w1": facts})  # type: ignore[dict-item]
    with pytest.raises(UsageError) as caught:
        drive(executor)
    assert said in str(caught.value)
    assert executor.given == [] and executor.closed


def test_another_torch_is_worth_a_warning() -> None:
    _, monitor, _ = drive(FakeExecutor(facts={"w1": replace(FACTS, torch="9")}))
    assert any("has torch 9, this process 2.0" in note for note in monitor.notes)


def test_an_item_that_hangs_is_given_up_with_its_worker() -> None:
    def script(worker: str, task: Task) -> Row | None:
        return None if task.item.name == "item1" else done(worker, task)

    executor = FakeExecutor(script)
    driver, _, kept = drive(executor, policy=Policy(wait=0.0, timeout=0.05, grace=0.0))
    assert driver.counts == {"done": 5, "failed": 1} and executor.replaced == ["w1"]
    (row,) = [row for row in kept if row.status == "failed"]
    assert "took longer than --item-timeout 0.05 s" in row.error


def test_a_signal_lets_items_stop_and_starts_none() -> None:
    def script(worker: str, task: Task) -> Row | None:
        if task.item.name == "item3":
            signal.raise_signal(signal.SIGINT)
        return None if task.item.name in ("item2", "item3") else done(worker, task)

    executor = FakeExecutor(script)
    driver, _, _ = drive(executor, 20)
    assert driver.stopping and executor.stopped
    assert driver.counts == {"done": 2, "stopped": 2} and len(executor.given) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_ends_it_at_once() -> None:
    def script(worker: str, task: Task) -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        drive(FakeExecutor(script, workers=2))


def test_workers_that_come_to_nothing_later_on_end_it_when_none_is_left() -> None:
    executor = FakeExecutor(workers=1)

    def script(worker: str, task: Task) -> str:
        executor.facts["w0"] = "lost again"
        return "killed"

    executor.script = script
    with pytest.raises(RunError, match=r"no worker is left, the last one was w0 \(lost again\)"):
        drive(executor)


def test_items_of_encoders_are_handed_out_by_the_load_but_leave_none_idle() -> None:
    executor = FakeExecutor(workers=2)
    driver, monitor, kept = drive(executor, 22, at_once=2, load=8)
    assert driver.counts == {"done": 22} and len({row.item for row in kept}) == 22
    assert executor.loads == [8, 7, 4, 2]
    assert {row.worker for row in kept} == {"w0", "w1"} and {row.attempts for row in kept} == {1}
    assert monitor.rows == kept


def test_items_that_are_read_ahead_begin_before_anything_is_said_of_them() -> None:
    _, monitor, _ = drive(FakeExecutor(workers=2), 12, at_once=2, load=4)
    for item in (task.item.name for task in tasks(12)):
        said = [what for what, of in monitor.order if of == item]
        assert said[0] == "began" and said[-1] == "ended" and said.count("began") == 1
    assert ("stepped", "item2") in monitor.order


def test_of_several_items_those_at_hand_are_tried_alone_after_a_loss() -> None:
    def script(worker: str, task: Task) -> Row | str:
        return "killed" if task.item.name == "item3" else done(worker, task)

    executor = FakeExecutor(script, workers=1)
    driver, monitor, kept = drive(executor, 8, Policy(1, wait=0.0), at_once=2, load=8)
    assert driver.counts == {"done": 7, "failed": 1}
    assert Counter(row.item for row in kept) == {f"item{i}": 1 for i in range(8)}
    # item2 had ended when the worker was lost; those behind weren't begun and stay together
    assert executor.loads == [8, 4]
    attempts = {row.item: row.attempts for row in kept}
    assert attempts == {f"item{i}": 1 for i in range(8)} | {"item3": 2}
    assert "w0: was at item3; each is tried by itself" in monitor.notes


def test_a_failure_that_may_pass_is_tried_again_by_itself() -> None:
    executor = FakeExecutor(failing("out of memory", "memory", 1)[0], workers=1)
    driver, _, kept = drive(executor, 6, at_once=3, load=6)
    assert driver.counts == {"done": 6} and executor.loads == [6]
    assert [t.halvings for _, t in executor.given if t.item.name == "item2"] == [0, 1]
    assert kept[-1].item == "item2" and kept[-1].attempts == 2


def test_an_item_that_hangs_among_others_is_found() -> None:
    def script(worker: str, task: Task) -> Row | None:
        return None if task.item.name == "item1" else done(worker, task)

    executor = FakeExecutor(script, workers=1)
    policy = Policy(wait=0.0, timeout=0.02, grace=0.0)
    driver, _, kept = drive(executor, 6, policy, at_once=3, load=6)
    assert driver.counts == {"done": 5, "failed": 1} and executor.replaced == ["w0", "w0"]
    (row,) = [row for row in kept if row.status == "failed"]
    assert row.item == "item1" and "took longer than --item-timeout 0.02 s" in row.error


@pytest.mark.parametrize("seed", range(5))
def test_workers_lost_at_random_cost_no_item_of_a_load(seed: int) -> None:
    dice = random.Random(seed)

    def script(worker: str, task: Task) -> Row | str:
        return "killed" if dice.random() < 0.2 else done(worker, task)

    policy = Policy(50, wait=0.0)
    driver, _, kept = drive(FakeExecutor(script, workers=3), 60, policy, at_once=2, load=6)
    assert driver.counts == {"done": 60}
    assert Counter(row.item for row in kept) == {f"item{i}": 1 for i in range(60)}


def test_items_of_a_load_that_werent_begun_have_no_row_when_it_stops() -> None:
    def script(worker: str, task: Task) -> Row | None:
        if task.item.name == "item2":
            signal.raise_signal(signal.SIGINT)
            return None
        return done(worker, task)

    executor = FakeExecutor(script, workers=1)
    driver, _, kept = drive(executor, 8, at_once=1, load=8)
    assert driver.stopping and [row.item for row in kept] == ["item0", "item1", "item2"]
    assert driver.counts == {"done": 2, "stopped": 1}
