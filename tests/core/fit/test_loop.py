"""The loop: exact resume, guards, keep-best."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.errors import DivergedError, InterruptedRun, RunError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Progress, Stage, Update, run_stage
from inv3d.core.fit.optimizers import lbfgs
from inv3d.core.fit.schedule import Schedule, constant, ramped
from inv3d.core.fit.state import RunState
from inv3d.core.weights.tensors import read_tensors, write_tensors
from inv3d.rundir.log import read_log

STEPS = 7
Fault = Callable[[str, int, str], None]


def _stage(
    name: str,
    steps: int,
    variables: dict[str, Tensor],
    lr: Schedule,
    updates: dict[str, Any],
    **options: Any,
) -> Stage:
    """A stage with one group."""
    return Stage(name, steps, {"all": Group(variables, lr)}, updates, **options)


def _no_fault(stage: str, step: int, update: str) -> None:
    pass


@dataclass
class Problem:
    """Two stages over shared tensors, with random draws and a buffer, and room for faults."""

    checkpoint: Path | None = None
    every: int = 3
    fault: Fault = _no_fault
    chunk: int | None = None
    stage_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draws = {name: torch.Generator().manual_seed(i) for i, name in enumerate("ab")}
        self.state = RunState(draws, self.chunk, checkpoint=self.checkpoint, every=self.every)
        self.x = torch.linspace(-1, 1, 5).requires_grad_()
        self.y = torch.ones(2, 3).requires_grad_()
        self.unused = torch.ones(2).requires_grad_()
        self.memory = torch.zeros(5)
        self.log: list[Progress] = []

    def stage(self, name: str) -> Stage:
        first = name == "first"
        return _stage(
            name=name,
            steps=STEPS,
            variables={"x": self.x, "unused": self.unused} if first else {"y": self.y},
            lr=ramped(0.1, STEPS) if first else constant(0.05),
            updates={"fit": self._update(name, "fit"), "second": self._update(name, "second")},
            buffers={"memory": self.memory},
            **self.stage_options,
        )

    def _update(self, stage: str, update: str) -> Callable[[int], Metrics]:
        def run(step: int) -> Metrics:
            noise = torch.randn(5, generator=self.state.generators["a"])
            self.memory.mul_(0.9).add_(noise)
            scale = 1.0 if update == "fit" else 0.1
            bad = self.fault(stage, step, update)
            total = scale * (self.x * self.y.sum() - self.memory).square().sum() + 0.1 * scale
            total.backward()
            return {"total": total.detach() if bad is None else bad}

        return run

    def run(self) -> Iterator[Progress]:
        for name in ("first", "second"):
            torch.rand(1, generator=self.state.generators["b"])
            for progress in run_stage(self.stage(name), self.state):
                self.log.append(progress)
                yield progress

    def finish(self) -> Problem:
        for _ in self.run():
            pass
        return self

    def restored(self) -> Problem:
        """The same problem in a new process, with the checkpoint read."""
        other = Problem(self.checkpoint, self.every, stage_options=self.stage_options)
        other.state.restore()
        return other

    def outcome(self) -> dict[str, Tensor]:
        draws = {f"draw {n}": torch.rand(3, generator=g) for n, g in self.state.generators.items()}
        return {"x": self.x, "y": self.y, "memory": self.memory} | draws


def _identical(first: Problem, second: Problem) -> None:
    expected, found = first.outcome(), second.outcome()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert first.state.taken == second.state.taken == 2 * STEPS


def _losses(log: list[Progress]) -> list[tuple[str, int, dict[str, float]]]:
    return [(p.stage, p.step, p.losses) for p in log]


def test_stage_is_plain_adam() -> None:
    x = torch.linspace(-1, 1, 5)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    stage = _stage("s", 20, {"x": ours}, ramped(0.1, 20), {"fit": lambda step: _square(ours)})
    log = list(run_stage(stage, RunState({})))
    adam = torch.optim.Adam([theirs], lr=0.0)
    for step in range(20):
        adam.param_groups[0]["lr"] = ramped(0.1, 20)(step)
        adam.zero_grad()
        _square(theirs)
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert [p.step for p in log] == list(range(20)) and log[0].steps == 20
    assert log[3].lr == {"all": ramped(0.1, 20)(3)}
    assert log[0].losses["total"] == pytest.approx(float((x - 3).square().sum()))


def _square(x: Tensor) -> Metrics:
    loss = (x - 3).square().sum()
    loss.backward()
    return {"total": loss.detach()}


def test_later_updates_are_logged_under_their_names() -> None:
    log = Problem().finish().log
    assert set(log[0].losses) == {"total", "second/total"}


@pytest.mark.parametrize("steps", range(1, 2 * STEPS + 1))
def test_run_stopped_anywhere_goes_on_bit_identically(tmp_path: Path, steps: int) -> None:
    whole = Problem().finish()
    stopped = Problem(tmp_path / "checkpoint.safetensors")
    with pytest.raises(InterruptedRun, match=r"stopped in stage '\w+' after \d of 7 steps"):
        for count, _ in enumerate(stopped.run(), 1):
            stopped.state.stop_requested = count == steps
    resumed = stopped.restored()
    assert resumed.state.taken == steps
    resumed.finish()
    _identical(whole, resumed)
    assert _losses(stopped.log + resumed.log) == _losses(whole.log)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("steps", range(1, 2 * STEPS + 1))
def test_run_killed_anywhere_goes_on_bit_identically(
    tmp_path: Path, steps: int, every: int
) -> None:
    whole = Problem().finish()
    killed = Problem(tmp_path / "checkpoint.safetensors", every)
    for count, _ in enumerate(killed.run(), 1):
        if count == steps:
            break
    if not (tmp_path / "checkpoint.safetensors").exists():
        assert steps <= every
        return
    resumed = killed.restored().finish()
    _identical(whole, resumed)
    taken = 2 * STEPS - len(resumed.log)
    assert taken <= steps <= taken + every
    assert _losses(killed.log[:taken] + resumed.log) == _losses(whole.log)


def test_run_killed_again_and_again(tmp_path: Path) -> None:
    problem = Problem(tmp_path / "checkpoint.safetensors", every=1)
    whole, count = Problem().finish(), 0
    while problem.state.taken < 2 * STEPS and count < 50:
        for _ in zip(range(2), problem.run(), strict=False):
            count += 1
        problem = problem.restored()
    _identical(whole, problem.finish())


@pytest.mark.parametrize("stage", ["first", "second"])
@pytest.mark.parametrize("update", ["fit", "second"])
@pytest.mark.parametrize("step", [0, 3, STEPS - 1])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_with_the_last_good_state(
    tmp_path: Path, stage: str, update: str, step: int, value: float
) -> None:
    def fault(*where: object) -> Tensor | None:
        return torch.tensor(value) if where == (stage, step, update) else None

    problem = Problem(tmp_path / "checkpoint.safetensors", fault=fault)  # type: ignore[arg-type]
    text = rf"stage '{stage}', step {step}: {update} loss 'total' \({value}\) isn't finite"
    with pytest.raises(DivergedError, match=text) as error:
        problem.finish()
    assert f"--set {stage}.lr=" in str(error.value)
    resumed = problem.restored()
    assert resumed.state.taken == len(problem.log)
    _identical(Problem().finish(), resumed.finish())
    assert _losses(problem.log + resumed.log) == _losses(Problem().finish().log)


def test_gradient_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    x = torch.tensor([1.0, 0.0]).requires_grad_()

    def update(step: int) -> Metrics:
        loss = x[:1].square().sum() + (x[1:].sqrt() * 0 if step == 2 else x[1:] * 0).sum()
        loss.backward()
        return {"total": loss.detach()}

    state = RunState({}, checkpoint=tmp_path / "c.safetensors")
    stage = _stage("s", 5, {"x": x}, constant(0.1), {"fit": update})
    with pytest.raises(DivergedError, match="step 2: fit gradient isn't finite"):
        list(run_stage(stage, state))
    assert torch.isfinite(x).all()


def test_message_names_the_option_of_a_nested_stage() -> None:
    x = torch.ones(1, requires_grad=True)
    stage = _stage("start/latent", 1, {"x": x}, constant(1), {"fit": lambda s: {"total": x * 1e39}})
    with pytest.raises(DivergedError, match=r"--set start\.latent\.lr="):
        list(run_stage(stage, RunState({})))


class Memory:
    """A device that holds a few views at a time."""

    def __init__(self, problem_views: int, room: int) -> None:
        self.views, self.room, self.failures = problem_views, room, 0

    def use(self, state: RunState) -> None:
        state.views = max(state.views, self.views)
        if (state.view_chunk or self.views) > self.room:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(("room", "chunk", "failures"), [(9, None, 0), (4, 4, 1), (1, 1, 3)])
def test_out_of_memory_halves_the_chunk_and_retries_the_step(
    tmp_path: Path, room: int, chunk: int | None, failures: int
) -> None:
    memory = Memory(9, room)
    problem = Problem(tmp_path / "checkpoint.safetensors")
    problem.fault = lambda stage, step, update: memory.use(problem.state) if step > 1 else None
    _identical(Problem().finish(), problem.finish())
    assert memory.failures == failures and problem.state.view_chunk == chunk
    assert len(problem.state.notices) == min(1, failures)
    if failures:
        assert f"--view-chunk {chunk}, or fewer --views" in problem.state.notices[0]
    assert problem.restored().state.view_chunk == chunk


def test_out_of_memory_with_one_view_is_an_error_that_can_be_resumed(tmp_path: Path) -> None:
    memory = Memory(3, 0)
    problem = Problem(tmp_path / "checkpoint.safetensors")
    problem.fault = lambda stage, step, update: memory.use(problem.state) if step == 4 else None
    problem.state.rays_option = "pixels"
    with pytest.raises(RunError, match=r"one view at a time; .*--set generator\.pixels=") as e:
        problem.finish()
    assert "--resume" in str(e.value)
    resumed = problem.restored()
    assert resumed.state.taken == 4
    _identical(Problem().finish(), resumed.finish())


def test_a_chunk_larger_than_the_views_is_halved_from_the_views() -> None:
    memory = Memory(6, 3)
    problem = Problem(chunk=100)
    problem.fault = lambda stage, step, update: memory.use(problem.state)
    problem.finish()
    assert problem.state.view_chunk == 3 and memory.failures == 1


def _jumpy(keep: str) -> tuple[Stage, list[float]]:
    x = torch.tensor([1.0]).requires_grad_()
    values: list[float] = []

    def update(step: int) -> Metrics:
        values.append(float(x.detach()))
        loss = x.square().sum()
        loss.backward()
        return {"total": loss.detach()}

    return _stage("s", 12, {"x": x}, constant(0.3), {"fit": update}, keep=keep), values


def test_keep_best_takes_the_lowest_total() -> None:
    stage, values = _jumpy("best")
    list(run_stage(stage, RunState({})))
    found = float(stage.variables()["all/x"].detach())
    assert found == min(values, key=abs) != values[-1]
    stage, values = _jumpy("last")
    list(run_stage(stage, RunState({})))
    assert float(stage.variables()["all/x"].detach()) not in values


@pytest.mark.parametrize("steps", range(1, 2 * STEPS))
def test_keep_best_resumes_exactly(tmp_path: Path, steps: int) -> None:
    options = {"keep": "best"}
    whole = Problem(stage_options=options).finish()
    stopped = Problem(tmp_path / "checkpoint.safetensors", stage_options=options)
    with pytest.raises(InterruptedRun):
        for count, _ in enumerate(stopped.run(), 1):
            stopped.state.stop_requested = count == steps
    _identical(whole, stopped.restored().finish())
    assert not torch.equal(whole.outcome()["x"], Problem().finish().outcome()["x"])


def _alternating(path: Path | None = None, **options: Any) -> tuple[Stage, RunState, list[float]]:
    """A function that is seen in two halves; the light one always looks better than it is."""
    x = torch.tensor([1.0]).requires_grad_()
    values: list[float] = []

    def update(step: int) -> Metrics:
        values.append(float(x.detach()))
        loss = x.square().sum() * (100.0 if step % 2 else 0.01)
        loss.backward()
        return {"total": loss.detach()}

    stage = _stage("s", 12, {"x": x}, constant(0.3), {"fit": update}, round=2, **options)
    return stage, RunState({}, checkpoint=path, every=100), values


def _mean(values: list[float], step: int) -> float:
    """The mean total of the round that a step ends."""
    return sum(values[s] ** 2 * (100.0 if s % 2 else 0.01) for s in (step - 1, step)) / 2


def test_keep_best_compares_whole_rounds() -> None:
    stage, state, values = _alternating(keep="best")
    list(run_stage(stage, state))
    best = min(range(1, 12), key=lambda step: _mean(values, step))
    assert float(stage.variables()["all/x"].detach()) == values[best]
    single = min(range(12), key=lambda s: values[s] ** 2 * (100.0 if s % 2 else 0.01))
    assert values[single] != values[best]


def test_stop_goes_by_whole_rounds() -> None:
    seen: list[float] = []
    stage, state, values = _alternating(stop=lambda losses: bool(seen.append(losses["total"])))
    list(run_stage(stage, state))
    assert seen == pytest.approx([_mean(values, step) for step in range(1, 12)], rel=1e-5)


@pytest.mark.parametrize("options", [{"keep": "best"}, {"stop": lambda losses: False}])
def test_fewer_steps_than_a_round_say_that_no_step_is_best(options: dict[str, Any]) -> None:
    whole, state, _ = _alternating(**options)
    list(run_stage(whole, state))
    assert not state.notices
    short, state, _ = _alternating(**options)
    short.steps = 1
    list(run_stage(short, state))
    (said,) = state.notices
    assert said.startswith("stage 's': 1 steps don't see all views, which takes 2")


@pytest.mark.parametrize("steps", range(1, 12))
def test_rounds_resume_exactly(tmp_path: Path, steps: int) -> None:
    whole, state, _ = _alternating(keep="best")
    list(run_stage(whole, state))
    path = tmp_path / "c.safetensors"
    stopped, state, _ = _alternating(path, keep="best")
    with pytest.raises(InterruptedRun):
        for count, _ in enumerate(run_stage(stopped, state), 1):
            state.stop_requested = count == steps
    again, state, _ = _alternating(path, keep="best")
    state.restore()
    list(run_stage(again, state))
    assert torch.equal(again.variables()["all/x"], whole.variables()["all/x"])


def test_stop_ends_before_the_update() -> None:
    x = torch.tensor([1.0]).requires_grad_()
    stage = _stage(
        "s", 50, {"x": x}, constant(0.1), {"fit": lambda step: _square(x)},
        stop=lambda losses: losses["total"] < 1.0,
    )  # fmt: skip
    log = list(run_stage(stage, RunState({})))
    assert 0 < len(log) < 50 and log[-1].losses["total"] >= 1.0
    assert float((x.detach() - 3).square()) < 1.0


def test_stopped_stage_counts_as_finished(tmp_path: Path) -> None:
    options = {"stop": lambda losses: losses["total"] < 110}
    problem = Problem(tmp_path / "checkpoint.safetensors", stage_options=options).finish()
    assert len(problem.log) < 2 * STEPS
    assert {"first", "second"} == {p.stage for p in problem.log}
    again = problem.restored().finish()
    assert again.log == [] and torch.equal(again.x, problem.x)


def test_after_is_called_once_a_step() -> None:
    x = torch.tensor([1.0]).requires_grad_()
    seen: list[float] = []

    def after() -> None:
        seen.append(float(x.detach()))
        x.data.clamp_(max=1.2)

    updates = {"fit": lambda step: _square(x), "again": lambda step: _square(x)}
    list(run_stage(_stage("s", 6, {"x": x}, constant(0.1), updates, after=after), RunState({})))
    assert len(seen) == 6 and max(seen) > 1.3 and x.item() < 1.21


def test_stage_of_no_steps_is_finished_at_once(tmp_path: Path) -> None:
    x = torch.ones(1, requires_grad=True)
    state = RunState({}, checkpoint=tmp_path / "c.safetensors")
    stage = _stage("s", 0, {"x": x}, ramped(0.1, 0), {"fit": lambda step: _square(x)})
    assert list(run_stage(stage, state)) == [] and x.item() == 1.0
    assert read_tensors(tmp_path / "c.safetensors")[1]["done"] == ["s"]


def test_two_stages_of_one_name_are_refused() -> None:
    state = RunState({})
    stage, _ = _jumpy("last")
    list(run_stage(stage, state))
    with pytest.raises(ValueError, match="two stages of one run are called 's'"):
        list(run_stage(stage, state))


def _checkpoint(tmp_path: Path) -> Problem:
    problem = Problem(tmp_path / "checkpoint.safetensors")
    with pytest.raises(InterruptedRun):
        for count, _ in enumerate(problem.run(), 1):
            problem.state.stop_requested = count == 4
    return problem


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"c\.safetensors: no checkpoint to continue from"):
        RunState({}, checkpoint=tmp_path / "c.safetensors").restore()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_damaged_checkpoint(tmp_path: Path, kept: float) -> None:
    problem = _checkpoint(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(RunError, match=r"not a readable safetensors.*start again with --overwrite"):
        problem.restored()


def test_some_other_file_is_no_checkpoint(tmp_path: Path) -> None:
    write_tensors(tmp_path / "c.safetensors", {"x": torch.ones(1)}, {})
    with pytest.raises(RunError, match="checkpoint format None, expected 2"):
        RunState({}, checkpoint=tmp_path / "c.safetensors").restore()


def test_checkpoint_of_other_shapes_is_refused(tmp_path: Path) -> None:
    resumed = _checkpoint(tmp_path).restored()
    resumed.x = torch.zeros(6, requires_grad=True)
    with pytest.raises(RunError, match="'var/all/x' of stage 'first' is missing or of"):
        resumed.finish()


def test_checkpoint_of_other_stages_is_refused(tmp_path: Path) -> None:
    state = _checkpoint(tmp_path).restored().state
    stage, _ = _jumpy("last")
    with pytest.raises(RunError, match="stands in stage 'first', which isn't where this run begin"):
        list(run_stage(stage, state))


def test_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    problem = _checkpoint(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    resumed = problem.restored()
    resumed.state.checkpoint = tmp_path / "checkpoint.safetensors" / "below" / "a.safetensors"
    with pytest.raises(RunError, match="can't be written"):
        resumed.finish()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_log_with_a_last_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    path.write_text(json.dumps({"step": 0}) + "\n" + json.dumps({"step": 1}) + '\n{"st')
    assert read_log(path) == [{"step": 0}, {"step": 1}]
    assert read_log(tmp_path / "none") == []
    assert all(a["step"] < b["step"] for a, b in pairwise(read_log(path)))


# --- groups and updates


def _distance(*variables: Tensor) -> Metrics:
    loss = torch.stack([(v - 3).square().sum() for v in variables]).sum()
    loss.backward()
    return {"total": loss.detach()}


def test_groups_have_rates_betas_and_a_start_of_their_own() -> None:
    a, b, c = (torch.zeros(2, requires_grad=True) for _ in range(3))
    groups = {
        "a": Group({"a": a}, constant(0.1)),
        "b": Group({"b": b}, constant(0.2), betas=(0.5, 0.9)),
        "c": Group({"c": c}, constant(0.3), begin=4),
    }
    seen: list[tuple[float, float, float]] = []

    def update(step: int) -> Metrics:
        seen.append((float(a[0].detach()), float(b[0].detach()), float(c[0].detach())))
        return _distance(a, b, c)

    log = list(run_stage(Stage("s", 6, groups, {"fit": update}), RunState({})))
    assert log[0].lr == {"a": 0.1, "b": 0.2, "c": 0.3}
    first = seen[1]
    assert first == pytest.approx((0.1, 0.2, 0.0), abs=1e-5)
    assert all(place[2] == 0 for place in seen[:5]) and seen[5][2] == pytest.approx(0.3, abs=1e-5)
    theirs = torch.zeros(2, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=0.2, betas=(0.5, 0.9))
    for _ in range(6):
        adam.zero_grad()
        _distance(theirs)
        adam.step()
    assert torch.allclose(b, theirs)


def test_updates_step_the_groups_that_they_name_at_their_own_pace() -> None:
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    groups = {"a": Group({"a": a}, constant(0.1)), "b": Group({"b": b}, constant(0.1))}
    taken: list[tuple[str, int]] = []

    def watched(name: str) -> Any:
        def run(step: int) -> Metrics:
            taken.append((name, step))
            return _distance(a, b)

        return run

    updates = {
        "a": Update(watched("a"), groups=("a",)),
        "b": Update(watched("b"), groups=("b",), every=3, first=1),
    }
    log = list(run_stage(Stage("s", 6, groups, updates), RunState({})))
    assert taken == [("a", 0), ("a", 1), ("b", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 4), ("a", 5)]
    assert [set(p.losses) for p in log[:2]] == [{"total"}, {"total", "b/total"}]
    assert float(a.detach()) > 2 * float(b.detach()) > 0


def test_an_update_of_a_group_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="an update steps 'pose', no group of it"):
        Stage("s", 1, {}, {"fit": Update(lambda step: {}, groups=("pose",))})


def test_a_group_without_variables_is_refused() -> None:
    with pytest.raises(ValueError, match="stage 's': group 'noise' has no variables"):
        Stage("s", 1, {"noise": Group({}, constant(0.1))}, {})


def test_an_update_is_taken_at_least_now_and_then() -> None:
    with pytest.raises(ValueError, match="every 0 steps: expected 1 or more"):
        Update(lambda step: {}, every=0)


def _valley(path: Path | None, *, search: bool = True) -> tuple[Stage, RunState, Tensor]:
    """Rosenbrock's function with noise that is the same within a step."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    state = RunState({"a": torch.Generator().manual_seed(3)}, checkpoint=path, every=100)

    def update(step: int) -> Metrics:
        noise = 1e-3 * torch.randn(2, generator=state.generators["a"]).double()
        p, q = x + noise
        loss = (1 - p).square() + 100 * (q - p.square()).square()
        loss.backward()
        return {"total": loss.detach()}

    group = Group({"x": x}, constant(1.0), optimizer=lbfgs()) if search else None
    groups = {"x": group or Group({"x": x}, constant(1e-2))}
    return Stage("s", 30, groups, {"fit": update}), state, x


def test_a_line_search_is_an_optimiser_like_any_other() -> None:
    (searching, state, x), (plain, other, y) = _valley(None), _valley(None, search=False)
    list(run_stage(searching, state))
    list(run_stage(plain, other))
    goal = torch.ones(2, dtype=torch.float64)
    assert (x - goal).abs().max() < 0.05 < (y - goal).abs().max()


@pytest.mark.parametrize("steps", [1, 2, 7, 29])
def test_a_line_search_resumes_to_the_last_bit(tmp_path: Path, steps: int) -> None:
    whole, state, x = _valley(None)
    log = list(run_stage(whole, state))
    path = tmp_path / "checkpoint.safetensors"
    stopped, state, _ = _valley(path)
    with pytest.raises(InterruptedRun):
        for count, _ in enumerate(run_stage(stopped, state), 1):
            state.stop_requested = count == steps
    again, state, y = _valley(path)
    assert state.restore() == steps
    rest = list(run_stage(again, state))
    assert torch.equal(x, y) and len(rest) == 30 - steps
    assert [p.losses for p in rest] == [p.losses for p in log[steps:]]


def test_a_checkpoint_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    stopped, state, _ = _valley(path)
    with pytest.raises(InterruptedRun):
        for _ in run_stage(stopped, state):
            state.stop_requested = True
    again, state, _ = _valley(path, search=False)
    state.restore()
    with pytest.raises(RunError, match=r"'s' was taken by LBFGS, expected Adam: .* --overwrite"):
        list(run_stage(again, state))


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_line_search_that_runs_out_of_memory_starts_its_step_again(at: int) -> None:
    whole, state, x = _valley(None)
    list(run_stage(whole, state))
    stage, state, y = _valley(None)
    state.views, calls = 4, []
    inner = dict(stage.taken())["fit"].run

    def update(step: int) -> Metrics:
        calls.append(step)
        if len(calls) == 40 + at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(step)

    list(run_stage(Stage("s", 30, stage.groups, {"fit": update}), state))
    assert state.view_chunk == 2 and torch.equal(x, y)


def test_a_line_search_shares_its_update_with_no_other_group() -> None:
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    groups = {
        "a": Group({"a": a}, constant(1.0), optimizer=lbfgs()),
        "b": Group({"b": b}, constant(0.1)),
    }
    with pytest.raises(ValueError, match="'a' searches along a line"):
        list(run_stage(Stage("s", 1, groups, {"fit": lambda step: _distance(a, b)}), RunState({})))


def _still_valley(path: Path | None, *, still: bool = True) -> tuple[Stage, RunState, Tensor]:
    """Rosenbrock's function itself, of which the loop knows that it stands still, or doesn't."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)

    def update(step: int) -> Metrics:
        p, q = x
        loss = (1 - p).square() + 100 * (q - p.square()).square()
        loss.backward()
        return {"total": loss.detach()}

    group = Group({"x": x}, constant(1.0), optimizer=lbfgs())
    stage = Stage("s", 20, {"x": group}, {"fit": Update(update, still=still)})
    return stage, RunState({}, checkpoint=path, every=100), x


def test_where_a_line_search_ended_is_not_evaluated_again() -> None:
    (once, state, x), (twice, other, y) = _still_valley(None), _still_valley(None, still=False)
    log, again = list(run_stage(once, state)), list(run_stage(twice, other))
    assert torch.equal(x, y) and [p.losses for p in log] == [p.losses for p in again]
    assert [p.evaluations for p in again[1:]] == [p.evaluations + 1 for p in log[1:]]
    assert log[0].evaluations == again[0].evaluations >= 2


@pytest.mark.parametrize("steps", [1, 5, 19])
def test_a_line_search_that_saves_evaluations_resumes_to_the_last_bit(
    tmp_path: Path, steps: int
) -> None:
    whole, state, x = _still_valley(None)
    log = list(run_stage(whole, state))
    path = tmp_path / "checkpoint.safetensors"
    stopped, state, _ = _still_valley(path)
    with pytest.raises(InterruptedRun):
        for count, _ in enumerate(run_stage(stopped, state), 1):
            state.stop_requested = count == steps
    again, state, y = _still_valley(path)
    assert state.restore() == steps
    rest = list(run_stage(again, state))
    assert torch.equal(x, y) and [p.losses for p in rest] == [p.losses for p in log[steps:]]


def test_what_draws_random_numbers_is_evaluated_again_though_it_is_said_to_stand_still() -> None:
    plain, state, x = _valley(None)
    list(run_stage(plain, state))
    stage, state, y = _valley(None)
    update = Update(dict(stage.taken())["fit"].run, still=True)
    list(run_stage(Stage("s", 30, stage.groups, {"fit": update}), state))
    assert torch.equal(x, y)


def test_a_line_search_that_diverges_is_told_of_the_other_optimiser() -> None:
    x = torch.ones(1, requires_grad=True)
    group = Group({"x": x}, constant(1.0), optimizer=lbfgs())
    stage = Stage("latent", 1, {"x": group}, {"fit": lambda step: {"total": x * 1e39}})
    with pytest.raises(DivergedError, match=r"try Adam \(--set latent\.optimizer=adam\)"):
        list(run_stage(stage, RunState({})))


class Hungry(torch.optim.SGD):
    """Needs more memory than there is, the first time it steps."""

    full = True

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if self.full:
            self.full = False
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().step()


def test_an_optimiser_without_room_ends_the_run_before_a_group_steps_twice(tmp_path: Path) -> None:
    a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    groups = {
        "a": Group({"a": a}, constant(0.5)),
        "b": Group({"b": b}, constant(0.5), optimizer=lambda v, betas: Hungry(v, lr=0.0)),
    }
    state = RunState({}, checkpoint=tmp_path / "checkpoint.safetensors", every=1)
    state.views = 4
    with pytest.raises(RunError, match="where group 'b' takes its step; start again"):
        list(run_stage(Stage("s", 3, groups, {"fit": lambda step: _distance(a, b)}), state))
    # half a step is no state to go on from
    assert not state.checkpoint.is_file()


# --- reading the losses now and then


def _lazily(problem: Problem, every: int) -> Problem:
    problem.state.read_every = every
    return problem


@pytest.mark.parametrize("every", [2, 3, 50])
def test_losses_read_now_and_then_are_the_same(tmp_path: Path, every: int) -> None:
    whole = Problem().finish()
    problem = _lazily(Problem(tmp_path / "checkpoint.safetensors", every=4), every).finish()
    _identical(whole, problem)
    assert _losses(problem.log) == _losses(whole.log)


def test_losses_are_fetched_once_for_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    fetch = torch.Tensor.tolist

    def watched(tensor: Tensor) -> Any:
        counts.append(len(tensor))
        return fetch(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", watched)
    _lazily(Problem(), 3).finish()
    # two updates a step, each with a loss and the norm of its gradient; 3 + 3 + 1 steps a stage
    assert counts == [12, 12, 4] * 2


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_run_stopped_between_two_readings_resumes(tmp_path: Path, steps: int) -> None:
    whole = Problem().finish()
    stopped = _lazily(Problem(tmp_path / "checkpoint.safetensors"), 5)
    with pytest.raises(InterruptedRun):
        for count, _ in enumerate(stopped.run(), 1):
            stopped.state.stop_requested = count >= steps
    resumed = _lazily(stopped.restored(), 5)
    assert resumed.state.taken == len(stopped.log) >= steps
    _identical(whole, resumed.finish())
    assert _losses(stopped.log + resumed.log) == _losses(whole.log)


def test_a_bad_loss_that_is_read_late_names_its_step(tmp_path: Path) -> None:
    def fault(stage: str, step: int, update: str) -> Tensor | None:
        return torch.tensor(float("nan")) if (stage, step, update) == ("first", 4, "fit") else None

    problem = _lazily(Problem(tmp_path / "checkpoint.safetensors", every=3, fault=fault), 5)
    with pytest.raises(DivergedError, match=r"step 4: loss 'total'.*the last checkpoint stands"):
        problem.finish()
    resumed = problem.restored()
    assert resumed.state.taken == 3
    _identical(Problem().finish(), resumed.finish())


@pytest.mark.parametrize("every", [2, 5])
@pytest.mark.parametrize("update", ["fit", "second"])
def test_steps_that_were_not_read_are_told_before_memory_runs_out(
    tmp_path: Path, every: int, update: str
) -> None:
    """The checkpoint has them behind it, so that a resumed run wouldn't tell of them."""

    def fault(stage: str, step: int, name: str) -> None:
        if (stage, step, name) == ("first", 5, update):
            raise torch.OutOfMemoryError("CUDA out of memory")

    whole = Problem().finish()
    problem = _lazily(Problem(tmp_path / "checkpoint.safetensors", fault=fault), every)
    with pytest.raises(RunError, match="out of device memory"):
        problem.finish()
    resumed = _lazily(problem.restored(), every)
    assert len(problem.log) == resumed.state.taken == 5
    _identical(whole, resumed.finish())
    assert _losses(problem.log + resumed.log) == _losses(whole.log)


@pytest.mark.parametrize("bad", [(3, "fit"), (4, "fit")])
def test_a_state_after_a_bad_loss_is_not_saved_where_memory_runs_out(
    tmp_path: Path, bad: tuple[int, str]
) -> None:
    def fault(stage: str, step: int, name: str) -> Tensor | None:
        if (step, name) == (4, "second"):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.tensor(float("nan")) if (step, name) == bad else None

    problem = _lazily(Problem(tmp_path / "checkpoint.safetensors", every=3, fault=fault), 5)
    with pytest.raises(DivergedError, match=f"step {bad[0]}: loss 'total'"):
        problem.finish()
    _identical(Problem().finish(), problem.restored().finish())


def test_variables_that_lie_across_memory_are_searched_too() -> None:
    """As an offset of every second part of a tensor does."""
    whole = torch.zeros(2, 4, 3)
    across = whole[:, ::2].transpose(1, 2).requires_grad_()

    def update(step: int) -> dict[str, Tensor]:
        loss = (across - 1).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        across.grad = across.grad.contiguous().transpose(0, 1).contiguous().transpose(0, 1)
        return {"total": loss.detach()}

    groups = {"across": Group({"across": across}, constant(1.0), optimizer=lbfgs())}
    log = list(Context.create().run(Stage("search", 3, groups, {"fit": update})))
    assert log[-1].losses["total"] < 1e-6
