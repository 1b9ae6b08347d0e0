"""Turns, memory, work, rates, profile, turntable: what their numbers mean."""

from __future__ import annotations

import torch

from inv3d.bench.machine import Rates, describe_machine, processor_name
from inv3d.bench.profiles import profile_call
from inv3d.bench.reference import ReferenceNetwork
from inv3d.bench.timing import Spread, peak_bytes, take_turns
from inv3d.bench.turntable import turntable
from inv3d.bench.ways import Way
from inv3d.bench.work import Work, operations, work_of
from tests.bench.tiny_case import tiny_case

CPU = torch.device("cpu")


def test_ways_take_turns() -> None:
    calls: list[str] = []

    def way(name: str) -> Way:
        return Way(lambda: calls.append(name) or {}, dict)  # type: ignore[func-returns-value]

    turns = take_turns(way("a"), way("b"), 3, CPU, "wall")
    assert calls == ["a", "b"] * 3
    for spread in (turns.ours.wall, turns.ours.cpu, turns.reference.wall, turns.ratio):
        assert 0 <= spread.min <= spread.median <= spread.max


def test_a_call_of_several_steps_is_shared_out() -> None:
    numbers = torch.ones(1 << 16)

    def busy() -> dict[str, float]:
        for _ in range(200):
            numbers.sin()
        return {}

    turns = take_turns(Way(busy, dict), Way(busy, dict, steps=100), 3, CPU, "cpu")
    assert turns.ratio.median < 0.5


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_peak_counts_what_is_held_at_a_time() -> None:
    def step() -> None:
        kept = torch.ones(1 << 20)
        for _ in range(5):
            kept = kept + torch.ones(1 << 20)

    # at most three of 4 MiB live at the same time
    assert 12 << 20 <= peak_bytes(step, CPU) < 13 << 20


def test_operations_are_counted() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert operations(lambda: a @ b) == 2 * 3 * 5 * 7


def test_work_grows_with_views_and_gradients() -> None:
    case = tiny_case()
    network = ReferenceNetwork(case.generator)
    one = {m: work_of(case, network, "superres", m, 1) for m in ("forward", "w+", "tuning")}  # type: ignore[arg-type]
    assert one["tuning"].operations == 3 * one["forward"].operations
    assert one["forward"].bytes < one["w+"].bytes < one["tuning"].bytes
    four = work_of(case, network, "superres", "w+", 4)
    assert four.operations == 4 * one["w+"].operations
    assert four.bytes < 4 * one["w+"].bytes  # weights are read once
    # the density of the coarse pass and all else of the render is counted, backwards too
    forward = work_of(case, network, "render", "forward", 1).operations
    assert forward < work_of(case, network, "render", "w+", 1).operations
    parts = [work_of(case, network, s, "w+", 2) for s in ("backbone", "render", "superres")]  # type: ignore[arg-type]
    step = work_of(case, network, "step", "w+", 2)
    assert step.operations == sum(part.operations for part in parts)  # mse and l1 have none
    assert step.bytes > sum(part.bytes for part in parts)
    assert all(not p.requires_grad for p in case.generator.parameters())


def test_the_limit_is_the_slower_of_both() -> None:
    rates = Rates(matrices=10.0, convolutions=20.0, copy=2.0)
    assert Work(40_000_000_000, 1_000_000_000).seconds(rates) == 2.0
    assert Work(1, 8_000_000_000).seconds(rates) == 4.0
    assert Work(1, 2) + Work(3, 4) == Work(4, 6)


def test_the_machine_says_what_it_is() -> None:
    found = describe_machine(CPU, "fp32", "wall")
    assert found.device == "cpu" and found.processor == processor_name() != ""
    assert found.cores >= 1 and found.threads == torch.get_num_threads()
    assert min(found.rates.matrices, found.rates.convolutions, found.rates.copy) > 0


def test_a_profile_names_what_takes_longest() -> None:
    a = torch.ones(300, 300)

    def call() -> None:
        for _ in range(20):
            a @ a
        torch.ones(2).sum()

    found = profile_call(call, CPU, top=1)
    assert [one.name for one in found] == ["aten::mm", "everything else"]
    assert found[0].calls == 20 and abs(sum(one.share for one in found) - 1) < 1e-6
    assert profile_call(call, CPU, steps=10, top=1)[0].calls == 2


def test_a_turntable() -> None:
    case = tiny_case()
    found = turntable(case.generator, 4, CPU)
    assert (found.frames, found.rays, found.size) == (4, 8, 32)
    assert found.raw > 0 and found.image > 0
