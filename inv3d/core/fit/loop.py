"""The optimisation loop: stages, checkpoints, exact resume, guards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from inv3d.core.errors import DivergedError, InterruptedRun, RunError
from inv3d.core.fit.schedule import Schedule
from inv3d.core.weights.tensors import read_tensors, write_tensors

Metrics = dict[str, Tensor]
Update = Callable[[int], Metrics]
Stop = Callable[[Mapping[str, float]], bool]
Keep = Literal["last", "best"]

_FORMAT = 1
_ADAM = ("step", "exp_avg", "exp_avg_sq")
_FEWER_VIEWS = "out of device memory: rendering fewer views at a time; to avoid the retry use"


@dataclass(frozen=True)
class Progress:
    """One step of an optimisation.

    Attributes:
        stage: name of the stage.
        step: of the stage, from 0.
        steps: length of the stage.
        losses: name -> value; "total" is the weighted sum over views of the first update.
        lr: learning rate of the step.
        seconds: that the step took.
    """

    stage: str
    step: int
    steps: int
    losses: dict[str, float]
    lr: float
    seconds: float


@dataclass
class Stage:
    """A piece of optimisation with one Adam state.

    Attributes:
        name: unique within a run; "a/b" is stage b of a method that runs as part a of another.
        steps: its length.
        variables: name -> leaf tensor that changes.
        lr: learning rate at a step.
        updates: name -> function that back-propagates and returns scalars on the device, the
            first one with "total"; each is followed by an optimiser step.
        buffers: name -> tensor that updates change in place, such as stored depths.
        keep: "last" takes the variables after the last step, "best" those with the lowest total.
        stop: tells from the first update's losses, before it's applied, that the stage is done.
        after: called after every step, to put variables back where they may be.
        betas: of Adam.
    """

    name: str
    steps: int
    variables: Mapping[str, Tensor]
    lr: Schedule
    updates: Mapping[str, Update]
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    keep: Keep = "last"
    stop: Stop | None = None
    after: Callable[[], None] | None = None
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class RunState:
    """What the loop needs of its surroundings, and what a checkpoint must hold besides stages.

    Attributes:
        generators: name -> random number generator whose state is saved.
        view_chunk: views rendered at a time, halved when the device runs out of memory; None: all.
        views: the largest number of views rendered so far in one update.
        rays_option: option of the generator that lowers the rays a side, empty where it has none.
        checkpoint: file to write; None for none.
        every: steps between checkpoints.
        stop_requested: set from outside (Ctrl-C); the loop ends after the current step.
        notices: messages for the user.
        taken: steps behind the run, over all stages.
        done: stage name -> its final variables, buffers and random states.
        restored: names of stages in `done` that this process hasn't come to yet.
        position: where the checkpoint stands, until the loop is there.
        tensors: of the stage in which the checkpoint stands, until the loop is there.
    """

    generators: dict[str, torch.Generator]
    view_chunk: int | None = None
    views: int = 1
    rays_option: str = ""
    checkpoint: Path | None = None
    every: int = 50
    stop_requested: bool = False
    notices: list[str] = field(default_factory=list)
    taken: int = 0
    done: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    position: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def restore(self) -> int:
        """Read the checkpoint and return the number of steps that it has behind it.

        Raises:
            RunError: where there's none, or it isn't one of this format.
            WeightsError: where it's damaged.
        """
        if self.checkpoint is None or not self.checkpoint.is_file():
            raise RunError(
                f"{self.checkpoint}: no checkpoint to continue from; "
                "start the run again with --overwrite"
            )
        tensors, position = read_tensors(self.checkpoint)
        if position.get("format") != _FORMAT:
            raise RunError(
                f"{self.checkpoint}: checkpoint format {position.get('format')}, expected "
                f"{_FORMAT}; start the run again with --overwrite"
            )
        self.position, self.restored = position, list(position["done"])
        self.done = {name: _part(tensors, f"done/{name}/") for name in self.restored}
        self.tensors = _part(tensors, "now/")
        self.taken, self.view_chunk = int(position["taken"]), position["view_chunk"]
        return self.taken


def run_stage(stage: Stage, state: RunState) -> Iterator[Progress]:
    """Run a stage, or continue it, or skip it where the checkpoint has it behind it.

    Raises:
        DivergedError: where a loss or gradient isn't finite; the last good state has been saved.
        InterruptedRun: where a stop was requested; the state has been saved.
        RunError: where one view is too much for the device, or the checkpoint doesn't fit.
    """
    loop = _Loop(stage, state)
    if loop.skip():
        return
    for step in range(loop.resume(), stage.steps):
        started = time.perf_counter()
        losses = loop.take(step)
        if losses is None:
            break
        yield Progress(
            stage.name, step, stage.steps, losses, stage.lr(step), time.perf_counter() - started
        )
        last = step + 1 == stage.steps
        if not last and (state.stop_requested or (step + 1) % state.every == 0):
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
    """

    def __init__(self, stage: Stage, state: RunState) -> None:
        self.stage = stage
        self.state = state
        variables = list(stage.variables.values())
        self.optimizer = torch.optim.Adam(variables, lr=0.0, betas=stage.betas, fused=True)
        self.first_update = 0
        self.losses: dict[str, float] = {}
        self.best_total = math.inf
        self.best: dict[str, Tensor] = {}

    def take(self, step: int) -> dict[str, float] | None:
        """Apply every update of a step; None where the stage's own test says that it's done."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.stage.lr(step)
        updates = list(self.stage.updates.items())
        for index in range(self.first_update, len(updates)):
            name, update = updates[index]
            values = self._back_propagate(name, update, step, index)
            if index == 0:
                self._remember(values)
                if self.stage.stop is not None and self.stage.stop(values):
                    return None
            self.optimizer.step()
            prefix = f"{name}/" if index else ""
            self.losses |= {prefix + key: value for key, value in values.items()}
        if self.stage.after is not None:
            self.stage.after()
        losses, self.losses, self.first_update = self.losses, {}, 0
        self.state.taken += 1
        return losses

    def _back_propagate(self, name: str, update: Update, step: int, index: int) -> dict[str, float]:
        """Run one update, with fewer views at a time where memory runs out."""
        rewind = self._bookmark()
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                metrics = update(step)
                break
            except torch.OutOfMemoryError:
                chunk = self._smaller_chunk()
            # Only here, outside the handler, has the traceback let go of the failed tensors.
            self.optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            rewind()
            if chunk is None:
                self.save(step, index)
                raise RunError(_out_of_memory(self.state.rays_option))
            self._use_chunk(chunk)
        losses, bad = self._read(metrics)
        if bad is not None:
            rewind()
            self.save(step, index)
            raise DivergedError(
                f"stage '{self.stage.name}', step {step}: {name} {bad} isn't finite; the state "
                f"before it is saved; try a lower learning rate "
                f"(--set {self.stage.name.replace('/', '.')}.lr=...) or check the input images"
            )
        return losses

    def _bookmark(self) -> Callable[[], None]:
        """Remember random states and buffers; the result puts them back."""
        draws = {key: rng.get_state() for key, rng in self.state.generators.items()}
        buffers = {key: value.clone() for key, value in self.stage.buffers.items()}

        def rewind() -> None:
            for key, rng in self.state.generators.items():
                rng.set_state(draws[key])
            for key, value in self.stage.buffers.items():
                value.copy_(buffers[key])

        return rewind

    def _read(self, metrics: Metrics) -> tuple[dict[str, float], str | None]:
        """Fetch losses from the device, once, and name the first that isn't finite."""
        gradients = [v.grad for v in self.stage.variables.values() if v.grad is not None]
        norms = torch._foreach_norm(gradients) if gradients else ()
        device = next(iter(metrics.values())).device
        norm = torch.stack([n.to(device, torch.float32) for n in norms]).sum() if norms else None
        scalars = [value.detach().float().reshape(()) for value in metrics.values()]
        values = torch.stack([*scalars, *([] if norm is None else [norm])]).tolist()
        losses = dict(zip(metrics, values, strict=False))
        bad = next((f"loss '{n}' ({v})" for n, v in losses.items() if not math.isfinite(v)), None)
        if bad is None and not math.isfinite(values[-1]):
            bad = "gradient"
        return losses, bad

    def _smaller_chunk(self) -> int | None:
        """Half of the views that are rendered at a time now; None if it's one."""
        chunk = min(self.state.view_chunk or self.state.views, self.state.views)
        return chunk // 2 if chunk > 1 else None

    def _use_chunk(self, chunk: int) -> None:
        self.state.view_chunk = chunk
        notices = [n for n in self.state.notices if not n.startswith(_FEWER_VIEWS)]
        notices.append(f"{_FEWER_VIEWS} --view-chunk {chunk}, or fewer --views")
        self.state.notices[:] = notices

    def _remember(self, losses: Mapping[str, float]) -> None:
        if self.stage.keep == "best" and losses["total"] < self.best_total:
            self.best_total = losses["total"]
            self.best = {n: v.detach().clone() for n, v in self.stage.variables.items()}

    def skip(self) -> bool:
        """Take the stage's final state from the checkpoint, if it's there."""
        name, state = self.stage.name, self.state
        if name not in state.done:
            return False
        if name not in state.restored:
            raise ValueError(f"two stages of one run are called '{name}'")
        state.restored.remove(name)
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
        self._put(tensors)
        self._put_optimizer(_part(tensors, "adam/"))
        self.best = {
            name: best.to(self.stage.variables[name].device)
            for name, best in _part(tensors, "best/").items()
        }
        self.best_total = math.inf if position["best"] is None else position["best"]
        self.first_update, self.losses = position["update"], position["losses"]
        return int(position["step"])

    def finish(self) -> None:
        """Take the best variables where wanted and write them down as final."""
        for name, best in self.best.items():
            self.stage.variables[name].data.copy_(best)
        self.state.done[self.stage.name] = self._state()
        self._write({"stage": None}, {})

    def save(self, step: int, update: int = 0) -> None:
        """Write a checkpoint from which `update` of `step` is the next one to take."""
        tensors = self._state() | {f"best/{n}": v for n, v in self.best.items()}
        for name, variable in self.stage.variables.items():
            entry = self.optimizer.state.get(variable, {})
            tensors |= {f"adam/{name}/{key}": entry[key] for key in _ADAM if key in entry}
        position = {
            "stage": self.stage.name,
            "step": step,
            "update": update,
            "losses": self.losses,
            "best": self.best_total if self.best else None,
        }
        self._write(position, tensors)

    def _state(self) -> dict[str, Tensor]:
        """Copies of all that a stage leaves behind, on the CPU."""
        stage, rngs = self.stage, self.state.generators
        tensors = {f"var/{name}": _copy(value) for name, value in stage.variables.items()}
        tensors |= {f"buffer/{name}": _copy(value) for name, value in stage.buffers.items()}
        return tensors | {f"rng/{name}": rng.get_state() for name, rng in rngs.items()}

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        stage = self.stage
        for kind, values in (("var", stage.variables), ("buffer", stage.buffers)):
            for name, value in values.items():
                value.data.copy_(self._stored(tensors, f"{kind}/{name}", value))
        for name, rng in self.state.generators.items():
            rng.set_state(self._stored(tensors, f"rng/{name}", rng.get_state()))

    def _put_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        for name, variable in self.stage.variables.items():
            if f"{name}/step" not in tensors:
                continue
            self.optimizer.state[variable] = {
                key: tensors[f"{name}/{key}"].to(variable.device) for key in _ADAM
            }

    def _stored(self, tensors: Mapping[str, Tensor], key: str, like: Tensor) -> Tensor:
        if key not in tensors or tensors[key].shape != like.shape:
            raise RunError(
                f"{self.state.checkpoint}: '{key}' of stage '{self.stage.name}' is missing or of "
                "another shape: it belongs to a run with other options; start again with "
                "--overwrite"
            )
        return tensors[key]

    def _write(self, position: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        state = self.state
        if state.checkpoint is None:
            return
        everything = {f"now/{key}": value for key, value in tensors.items()}
        for name, final in state.done.items():
            everything |= {f"done/{name}/{key}": value for key, value in final.items()}
        position |= {
            "format": _FORMAT,
            "done": list(state.done),
            "taken": state.taken,
            "view_chunk": state.view_chunk,
        }
        write_tensors(state.checkpoint, everything, position)


def _out_of_memory(rays_option: str) -> str:
    rays = (
        f"fewer rays (--set generator.{rays_option}=...)" if rays_option else "a smaller generator"
    )
    return (
        f"out of device memory with one view at a time; start again with {rays} or --device cpu; "
        "the state so far is saved, --resume goes on with it where more memory is free"
    )


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
