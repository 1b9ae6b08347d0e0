"""The optimisation loop: stages of parameter groups and updates, exact resume, guards."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from inv3d.core.errors import DivergedError, InterruptedRun, InvError, RunError
from inv3d.core.fit.optimizers import MakeOptimizer, adam, evaluates
from inv3d.core.fit.pack import pack, unpack
from inv3d.core.fit.readback import Unread, gradient_norm, read
from inv3d.core.fit.schedule import Schedule
from inv3d.core.fit.state import RunState
from inv3d.core.fit.terms import Keep
from inv3d.core.weights.tensors import under_prefix

Metrics = dict[str, Tensor]
Run = Callable[[int], Metrics]
Stop = Callable[[Mapping[str, float]], bool]
TOTAL = "total"


@dataclass(frozen=True)
class Progress:
    """One step of an optimisation.

    Attributes:
        stage: name of the stage.
        step: of the stage, from 0.
        steps: length of the stage.
        losses: name -> value; "total" is the weighted sum over views of the first update, missing
            where that wasn't due.
        lr: group -> learning rate of the step.
        seconds: that the step took.
        evaluations: of its updates together; line searches make several.
    """

    stage: str
    step: int
    steps: int
    losses: dict[str, float]
    lr: dict[str, float]
    seconds: float
    evaluations: int = 1


@dataclass(frozen=True)
class Group:
    """Variables that are optimised alike.

    Attributes:
        variables: name -> leaf tensor that changes; names are unique within a stage.
        lr: learning rate at a step of the stage.
        betas: of Adam.
        begin: the first step at which they change.
        optimizer: makes their optimiser.
    """

    variables: Mapping[str, Tensor]
    lr: Schedule
    betas: tuple[float, float] = (0.9, 0.999)
    begin: int = 0
    optimizer: MakeOptimizer = adam


@dataclass(frozen=True)
class Update:
    """A function whose gradient is followed, and when.

    Attributes:
        run: back-propagates at a step and returns scalars on the device, among them "total".
        groups: that take a step after it; all where none is named.
        every: it's taken at every so many steps,
        first: from this one on.
        still: the same function at every step, so that where a line search ends it needn't be
            evaluated again for the next step. What draws random numbers is evaluated all the same.
    """

    run: Run
    groups: tuple[str, ...] = ()
    every: int = 1
    first: int = 0
    still: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"an update every {self.every} steps: expected 1 or more")

    def due(self, step: int) -> bool:
        """Whether it's taken at a step."""
        return step >= self.first and (step - self.first) % self.every == 0


@dataclass
class Stage:
    """A piece of optimisation.

    Attributes:
        name: unique within a run; "a/b" is stage b of a method that runs as part a of another.
        table: of options that has its learning rate, such as "a.b"; as its name says if empty.
        steps: its length.
        groups: name -> variables with an optimiser of their own.
        updates: name -> update; a bare function is one that steps all groups every time. They are
            taken in their order, each with an optimiser step of its own.
        buffers: name -> tensor that updates change in place, such as stored depths.
        keep: "last" takes the variables after the last step, "best" those with the lowest total of
            the first update.
        stop: tells from the first update's losses, before it's applied, that the stage is done.
        round: steps that see every view equally often; `keep` and `stop` go by the losses' mean
            over the last so many steps.
        after: called after every step, to put variables back where they may be.

    Example:
        >>> import inv3d, torch
        >>> x = torch.zeros(1, requires_grad=True)
        >>> def towards_3(step):
        ...     loss = (x - 3).square().sum()
        ...     loss.backward()
        ...     return {"total": loss.detach()}
        >>> groups = {"x": inv3d.Group({"x": x}, inv3d.constant(1.0), optimizer=inv3d.lbfgs())}
        >>> stage = inv3d.Stage("approach", 3, groups, {"fit": towards_3})
        >>> [step.losses["total"] for step in inv3d.Context.create().run(stage)]
        [9.0, 4.0, 0.0]
    """

    name: str
    steps: int
    groups: Mapping[str, Group]
    updates: Mapping[str, Update | Run]
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    keep: Keep = "last"
    stop: Stop | None = None
    round: int = 1
    after: Callable[[], None] | None = None
    table: str = ""

    def __post_init__(self) -> None:
        self._updates = {
            name: update if isinstance(update, Update) else Update(update)
            for name, update in self.updates.items()
        }
        for name, group in self.groups.items():
            if not group.variables:
                raise ValueError(
                    f"stage '{self.name}': group '{name}' has no variables; leave it out"
                )
        named = {group for update in self._updates.values() for group in update.groups}
        if unknown := sorted(named - set(self.groups)):
            raise ValueError(f"stage '{self.name}': an update steps '{unknown[0]}', no group of it")

    def variables(self) -> dict[str, Tensor]:
        """All variables, as GROUP/NAME."""
        return {f"{g}/{n}": v for g, one in self.groups.items() for n, v in one.variables.items()}

    def taken(self) -> list[tuple[str, Update]]:
        """The updates in their order."""
        return list(self._updates.items())

    def stepped(self, update: Update, step: int) -> list[str]:
        """The groups that take a step after an update."""
        return [n for n in update.groups or self.groups if step >= self.groups[n].begin]


def run_stage(stage: Stage, state: RunState) -> Iterator[Progress]:
    """Run a stage, or continue it, or skip it where the checkpoint has it behind it.

    Losses are read from the device every `state.read_every` steps, all at once, and that many items
    are yielded then; every step where the stage stops or keeps by them.

    Raises:
        DivergedError: where a loss or gradient isn't finite; the last good state has been saved.
        InterruptedRun: where a stop was requested; the state has been saved.
        RunError: where one view is too much for the device, or the checkpoint doesn't fit.
    """
    loop = _Loop(stage, state)
    if loop.skip():
        return
    if (stage.keep == "best" or stage.stop) and stage.steps < stage.round:
        state.notice(
            f"stage '{stage.name}': {stage.steps} steps don't see all views, which takes "
            f"{stage.round}, so that neither the best step nor when to stop is told"
        )
    try:
        yield from _run(loop, stage, state)
    finally:
        state.forget_passes()


def _run(loop: _Loop, stage: Stage, state: RunState) -> Iterator[Progress]:
    for step in range(loop.resume(), stage.steps):
        try:
            if not loop.take(step):
                break
        except _Halted as halted:
            # the checkpoint has these steps behind it, so they must be told of, and be good
            yield from loop.read()
            loop.save(step, halted.update)
            raise halted.error from None
        last, due = step + 1 == stage.steps, (step + 1) % state.every == 0
        if last or due or state.stop_requested or loop.reads(step):
            yield from loop.read()
        if not last and (state.stop_requested or due):
            yield from loop.read()
            loop.save(step + 1)
        if state.stop_requested:
            if last:
                loop.finish()
            raise InterruptedRun(
                f"stopped in stage '{stage.name}' after {step + 1} of {stage.steps} steps"
            )
    loop.finish()


class _Loop:
    """The state of one stage while it runs.

    Attributes:
        first_update: of the next step, where a step was left between two updates.
        losses: of the updates of the current step so far.
        unread: steps whose losses are still on the device, if they aren't read every step.
        recent: step -> losses of the first update, of the last round.
        evaluations: of the current step so far.
        found: what a line search found where it looked last.
    """

    def __init__(self, stage: Stage, state: RunState) -> None:
        self.stage = stage
        self.state = state
        self.variables = stage.variables()
        self.optimizers = {
            name: group.optimizer(list(group.variables.values()), group.betas)
            for name, group in stage.groups.items()
        }
        self.every = 1 if stage.keep == "best" or stage.stop else max(1, state.read_every)
        self.first_update = 0
        self.losses: dict[str, float] = {}
        self.current: list[Unread] = []
        self.unread: list[tuple[Progress, list[Unread]]] = []
        self.best_total = math.inf
        self.best: dict[str, Tensor] = {}
        self.recent: dict[int, dict[str, float]] = {}
        self.evaluations = 0
        self.found: _Found | None = None

    def reads(self, step: int) -> bool:
        """Whether the losses are read after a step."""
        return (step + 1) % self.every == 0

    def take(self, step: int) -> bool:
        """Apply every update of a step; False where the stage's own test says that it's done."""
        started, lr = time.perf_counter(), {}
        for name, optimizer in self.optimizers.items():
            lr[name] = self.stage.groups[name].lr(step)
            for options in optimizer.param_groups:
                options["lr"] = lr[name]
        updates = self.stage.taken()
        for index in range(self.first_update, len(updates)):
            if updates[index][1].due(step) and not self._apply(step, index):
                return False
        if self.stage.after is not None:
            self.stage.after()
        seconds = time.perf_counter() - started
        stage, evaluations = self.stage, self.evaluations
        done = Progress(stage.name, step, stage.steps, self.losses, lr, seconds, evaluations)
        self.unread.append((done, self.current))
        self.losses, self.current, self.first_update, self.evaluations = {}, [], 0, 0
        self.state.taken += 1
        return True

    def _apply(self, step: int, index: int) -> bool:
        """Apply one update, with fewer views at a time where memory runs out."""
        name, update = self.stage.taken()[index]
        stepped = self.stage.stepped(update, step)
        rewind, undo = self._bookmark(), self._remember_variables(stepped)
        while True:
            try:
                return self._try(step, index, stepped, rewind)
            except torch.OutOfMemoryError:
                freed = self.state.stop_recording()
                chunk = None if freed else self.state.smaller_chunk()
            except _NotFinite as error:
                bad = str(error)
                break
            # Only here, outside the handler, has the traceback let go of the failed tensors.
            self._zero_gradients()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            rewind()
            undo()
            if chunk is not None:
                self.state.use_chunk(chunk)
            elif not freed:
                raise _Halted(index, RunError(_out_of_memory(self.state.rays_option)))
        rewind()
        undo()
        raise _Halted(index, self._diverged(step, f"{name} {bad}", saved=True))

    def _try(self, step: int, index: int, stepped: list[str], rewind: Callable[[], None]) -> bool:
        """Back-propagate an update, look at its losses, let its groups take a step."""
        name, update = self.stage.taken()[index]
        metrics = self._evaluate(update, step, stepped)
        norm = gradient_norm(self.variables, metrics[TOTAL].device)
        unread = Unread(f"{name}/" if index else "", metrics, norm)
        if self.every > 1:
            self.current.append(unread)
        elif not self._look_at(unread, step, index):
            return False
        for group in stepped:
            self._step(group, update, step, stepped, metrics[TOTAL], rewind)
        return True

    def _look_at(self, unread: Unread, step: int, index: int) -> bool:
        """Read an update's losses now; False where the stage's own test says that it's done."""
        (reading,) = read([unread])
        if (fault := reading.fault()) is not None:
            raise _NotFinite(fault)
        seen = self._over_a_round(step, reading.losses) if index == 0 else None
        if seen is not None:
            self._remember_best(seen)
            if self.stage.stop is not None and self.stage.stop(seen):
                return False
        self.losses |= {unread.prefix + name: value for name, value in reading.losses.items()}
        return True

    def _over_a_round(self, step: int, losses: dict[str, float]) -> dict[str, float] | None:
        """Return the losses' mean over the last round; None before a first one is complete."""
        self.recent[step] = losses
        self.recent = dict(list(self.recent.items())[-self.stage.round :])
        if len(self.recent) < self.stage.round:
            return None
        return {name: fmean(one[name] for one in self.recent.values()) for name in losses}

    def _evaluate(self, update: Update, step: int, stepped: list[str]) -> Metrics:
        """Back-propagate an update, unless the last line search did that where it ended."""
        found, self.found = self.found, None
        if found is None or not found.holds(update):
            return self._back_propagate(update, step, stepped)
        self._zero_gradients()
        for variable, _, gradient in found.at:
            variable.grad = gradient
        return found.metrics

    def _back_propagate(self, update: Update, step: int, stepped: list[str]) -> Metrics:
        self._zero_gradients()
        self.evaluations += 1
        metrics = update.run(step)
        for name, group in self.stage.groups.items():
            for variable in group.variables.values():
                if name not in stepped:
                    variable.grad = None
                elif variable.grad is not None:
                    # L-BFGS takes gradients in the order of memory
                    variable.grad = variable.grad.contiguous()
        return metrics

    def _step(
        self,
        group: str,
        update: Update,
        step: int,
        stepped: list[str],
        total: Tensor,
        rewind: Callable[[], None],
    ) -> None:
        """Let a group take a step; a line search evaluates the update again, with equal draws."""
        optimizer = self.optimizers[group]
        if not evaluates(optimizer):
            try:
                optimizer.step()
            except torch.OutOfMemoryError:
                # other groups may have taken their step, and fewer views at a time free nothing
                raise RunError(_no_room_to_step(group)) from None
            return
        if len(stepped) > 1:
            raise ValueError(
                f"stage '{self.stage.name}': group '{group}' searches along a line, so that its "
                "update can step no other group; give that one an update of its own"
            )
        known = [total]

        def closure() -> Tensor:
            if known:
                return known.pop()
            rewind()
            before = self._draws()
            metrics = self._back_propagate(update, step, stepped)
            if update.still and _equal(before, self._draws()):
                self.found = _Found.of(update, self._of(group), metrics)
            return metrics[TOTAL]

        optimizer.step(closure)  # type: ignore[arg-type]
        values = self.stage.groups[group].variables.values()
        if not all(bool(value.isfinite().all()) for value in values):
            raise _NotFinite("variable")

    def _zero_gradients(self) -> None:
        for variable in self.variables.values():
            variable.grad = None

    def _bookmark(self) -> Callable[[], None]:
        """Remember random states and buffers; the result puts them back."""
        draws = self._draws()
        buffers = {key: value.clone() for key, value in self.stage.buffers.items()}

        def rewind() -> None:
            for key, rng in self.state.generators.items():
                rng.set_state(draws[key])
            for key, value in self.stage.buffers.items():
                value.copy_(buffers[key])

        return rewind

    def _draws(self) -> dict[str, Tensor]:
        """The states of all random number generators."""
        return {key: rng.get_state() for key, rng in self.state.generators.items()}

    def _remember_variables(self, stepped: list[str]) -> Callable[[], None]:
        """Remember what a line search changes before it fails; the result puts it back."""
        searching = [name for name in stepped if evaluates(self.optimizers[name])]
        values = {n: [v.detach().clone() for v in self._of(n)] for n in searching}
        states = {n: copy.deepcopy(self.optimizers[n].state_dict()) for n in searching}

        def undo() -> None:
            for name in searching:
                for variable, value in zip(self._of(name), values[name], strict=True):
                    variable.data.copy_(value)
                self.optimizers[name].load_state_dict(states[name])

        return undo

    def _of(self, group: str) -> list[Tensor]:
        return list(self.stage.groups[group].variables.values())

    def read(self) -> Iterator[Progress]:
        """Fetch the losses of all steps that weren't read yet, at once, and yield the steps."""
        waiting, self.unread = self.unread, []
        readings = iter(read([one for _, metrics in waiting for one in metrics]))
        for progress, metrics in waiting:
            losses = dict(progress.losses)
            for one in metrics:
                reading = next(readings)
                if (fault := reading.fault()) is not None:
                    raise self._diverged(progress.step, one.prefix + fault, saved=False)
                losses |= {one.prefix + name: value for name, value in reading.losses.items()}
            yield replace(progress, losses=losses)

    def _diverged(self, step: int, what: str, *, saved: bool) -> DivergedError:
        state = "the state before it is saved" if saved else "the last checkpoint stands before it"
        option = f"--set {self.stage.table or self.stage.name.replace('/', '.')}"
        remedy = f"a lower learning rate ({option}.lr=...)"
        if any(evaluates(optimizer) for optimizer in self.optimizers.values()):
            remedy = f"Adam ({option}.optimizer=adam)"
        return DivergedError(
            f"stage '{self.stage.name}', step {step}: {what} isn't finite; {state}; try {remedy} "
            "or check the input images"
        )

    def _remember_best(self, losses: Mapping[str, float]) -> None:
        if self.stage.keep == "best" and losses[TOTAL] < self.best_total:
            self.best_total = losses[TOTAL]
            self.best = {n: v.detach().clone() for n, v in self.variables.items()}

    def skip(self) -> bool:
        """Take the stage's final state from the checkpoint, if it's there."""
        name, state = self.stage.name, self.state
        if name not in state.done:
            return False
        if name not in state.restored:
            raise ValueError(f"two stages of one run are called '{name}'")
        state.restored.remove(name)
        with state.reading():
            self._put(state.done[name])
        return True

    def resume(self) -> int:
        """Put the checkpoint's state in place, if any, and return the step to go on from."""
        state, position = self.state, self.state.position
        stage = position.get("stage")
        if state.restored or stage not in (None, self.stage.name):
            raise RunError(
                f"{state.checkpoint}: stands in stage '{stage or state.restored[0]}', which isn't "
                f"where this run begins ('{self.stage.name}'): it belongs to a run with other "
                "options; start again with --overwrite"
            )
        tensors, state.tensors, state.position = state.tensors, {}, {}
        if stage is None:
            return 0
        with state.reading():
            return self._put_back(position, tensors)

    def _put_back(self, position: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
        """Put the state of this stage in place, and return the step to go on from."""
        self._put(tensors)
        for name, packed in position["optimizers"].items():
            optimizer = self.optimizers[name]
            kind = type(optimizer).__name__
            if (before := position.get("kinds", {}).get(name, kind)) != kind:
                raise RunError(
                    f"{self.state.checkpoint}: stage '{self.stage.name}' was taken by {before}, "
                    f"expected {kind}: it belongs to a run with other options; start again with "
                    "--overwrite"
                )
            entries = {**optimizer.state_dict(), "state": unpack(packed, tensors)}
            optimizer.load_state_dict(entries)
        self.best = {
            name: best.to(self.variables[name].device)
            for name, best in under_prefix(tensors, "best/").items()
        }
        best, self.losses = position["best"], dict(position["losses"])
        self.recent = {step: dict(losses) for step, losses in position.get("recent", ())}
        self.evaluations = position.get("evaluations", 0) + 0
        self.best_total = math.inf if best is None else best + 0.0
        self.first_update = position["update"] + 0
        return int(position["step"])

    def finish(self) -> None:
        """Take the best variables where wanted and write them down as final."""
        for name, best in self.best.items():
            self.variables[name].data.copy_(best)
        self.state.done[self.stage.name] = self._state()
        self.state.write({"stage": None}, {})

    def save(self, step: int, update: int = 0) -> None:
        """Write a checkpoint from which `update` of `step` is the next one to take."""
        if self.state.checkpoint is None:
            return
        tensors = self._state() | {f"best/{n}": v for n, v in self.best.items()}
        optimizers: dict[str, Any] = {}
        for name, optimizer in self.optimizers.items():
            entries: dict[str, Tensor] = {}
            prefix = f"optimizer/{name}/"
            optimizers[name] = pack(optimizer.state_dict()["state"], entries, prefix)
            tensors |= entries
        for one, reading in zip(self.current, read(self.current), strict=True):
            if (fault := reading.fault()) is not None:
                raise self._diverged(step, one.prefix + fault, saved=False)
            self.losses |= {one.prefix + name: v for name, v in reading.losses.items()}
        position = {
            "stage": self.stage.name,
            "step": step,
            "update": update,
            "losses": self.losses,
            "recent": [[step, losses] for step, losses in self.recent.items()],
            "evaluations": self.evaluations,
            "best": self.best_total if self.best else None,
            "optimizers": optimizers,
            "kinds": {name: type(one).__name__ for name, one in self.optimizers.items()},
        }
        self.state.write(position, tensors)

    def _state(self) -> dict[str, Tensor]:
        """Copies of all that a stage leaves behind, on the CPU."""
        tensors = {f"var/{name}": _copy(value) for name, value in self.variables.items()}
        tensors |= {f"buffer/{name}": _copy(value) for name, value in self.stage.buffers.items()}
        rngs = self.state.generators
        return tensors | {f"rng/{name}": rng.get_state() for name, rng in rngs.items()}

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for kind, values in (("var", self.variables), ("buffer", self.stage.buffers)):
            for name, value in values.items():
                value.data.copy_(self._stored(tensors, f"{kind}/{name}", value))
        for name, rng in self.state.generators.items():
            rng.set_state(self._stored(tensors, f"rng/{name}", rng.get_state()))

    def _stored(self, tensors: Mapping[str, Tensor], key: str, like: Tensor) -> Tensor:
        if key not in tensors or tensors[key].shape != like.shape:
            raise RunError(
                f"{self.state.checkpoint}: '{key}' of stage '{self.stage.name}' is missing or of "
                "another shape: it belongs to a run with other options; start again with "
                "--overwrite"
            )
        return tensors[key]


@dataclass(frozen=True)
class _Found:
    """What an update's function is where a line search looked.

    Attributes:
        update: whose function.
        at: variables, their values then, and the gradients there.
        metrics: what it returned.
    """

    update: Update
    at: list[tuple[Tensor, Tensor, Tensor | None]]
    metrics: Metrics

    @staticmethod
    def of(update: Update, variables: list[Tensor], metrics: Metrics) -> _Found:
        """Return what is found where the variables are now; gradients are theirs."""
        kept = [None if v.grad is None else v.grad.clone() for v in variables]
        at = [(v, v.detach().clone(), g) for v, g in zip(variables, kept, strict=True)]
        return _Found(update, at, metrics)

    def holds(self, update: Update) -> bool:
        """Whether it's what the update would find now."""
        return update is self.update and all(torch.equal(v, value) for v, value, _ in self.at)


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


class _NotFinite(Exception):
    """A number that isn't finite; the text says which."""


class _Halted(Exception):
    """A step that can't go on; everything is as it was before one of its updates.

    Attributes:
        update: number of that update.
        error: what to tell the user.
    """

    def __init__(self, update: int, error: InvError) -> None:
        super().__init__(str(error))
        self.update = update
        self.error = error


def _out_of_memory(rays_option: str) -> str:
    rays = (
        f"fewer rays (--set generator.{rays_option}=...)" if rays_option else "a smaller generator"
    )
    return (
        f"out of device memory with one view at a time; start again with {rays} or --device cpu; "
        "the state so far is saved, --resume goes on with it where more memory is free"
    )


def _no_room_to_step(group: str) -> str:
    return (
        f"out of device memory where group '{group}' takes its step; start again with a smaller "
        "generator or --device cpu, or --resume from the last checkpoint where more memory is free"
    )


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
