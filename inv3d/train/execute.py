"""Taking the steps of a training, and all that has to hold around them."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inv3d.core.config import merge
from inv3d.core.errors import ConfigError, DivergedError, InputError, InterruptedRun, RunError
from inv3d.core.files import write_text
from inv3d.core.fit.loop import Progress
from inv3d.core.registry.hooks import Observers, hooks, open_loggers
from inv3d.rundir.directory import check_spared
from inv3d.rundir.lock import held
from inv3d.rundir.record import timestamp
from inv3d.runs.display import Display
from inv3d.runs.execute import stop_on_signals
from inv3d.train.evaluate import evaluate
from inv3d.train.feed import Feed
from inv3d.train.page import training_page
from inv3d.train.prepare import (
    OF_TRAINING,
    PreparedTraining,
    TrainRequest,
    find_trainable,
    prepare_training,
)
from inv3d.train.store import PAGE, TrainingDirectory
from inv3d.train.team import LeftAlone, meeting, own_device
from inv3d.train.trainer import Taken, Trainer

STAGE = "training"
# steps whose mean is a line of the log
_LOGGED = 10


def start_training(
    request: TrainRequest,
    out: Path,
    display: Display,
    *,
    overwrite: bool,
    command: Sequence[str],
    loggers: Sequence[str] = (),
) -> TrainingDirectory:
    """Train from the first step to the last, in a new directory.

    Args:
        request: what was asked for.
        out: the directory.
        display: shows what happens.
        overwrite: replace a training that is there.
        command: the command line, for the record.
        loggers: that watch it, such as "tensorboard" or "wandb?project=heads".

    Raises:
        InvError: where it can't begin, in which case nothing is left, or can't go on.
    """
    device = own_device(request.device)
    with meeting(device) as team:
        prepared = prepare_training(request.settled(), team, device)
        feed = Feed(prepared.sources, request.seed, prepared.trainer.training, team, device)
        prepared.trainer.rehearse(feed)
        if not team.leads:
            return _follow(prepared, feed, TrainingDirectory(out, {}))
        check_spared(out, prepared.begun_from)
        observers = _watching(display, loggers)
        directory = TrainingDirectory.create(out, overwrite=overwrite)
        with held(directory.path):
            directory.begin(prepared, list(command))
            for notice in prepared.notices:
                display.say(f"warning: {notice}")
            return _lead(prepared, feed, directory, display, observers)


def resume_training(
    out: Path,
    display: Display,
    training: Mapping[str, Any] | None = None,
    loggers: Sequence[str] = (),
) -> TrainingDirectory:
    """Go on with a training where its checkpoint stands, to the same weights.

    Args:
        out: the directory.
        display: shows what happens.
        training: options of the training that change from here on, such as a later end.
        loggers: see `start_training`.

    Raises:
        InvError: where something that it began with has changed, or it can't go on.
    """
    directory = TrainingDirectory.reopen(out)
    request = directory.request
    if training:
        _check_changes(request, training)
        request = replace(request, options=merge(request.options, {OF_TRAINING: training}))
    device = own_device(request.device)
    with meeting(device) as team:
        prepared = prepare_training(request, team, device, begun=directory.begun)
        _check_same(directory, prepared)
        feed = Feed(prepared.sources, request.seed, prepared.trainer.training, team, device)
        if not team.leads:
            directory.restore_into(prepared.trainer)
            _check_ahead(directory, prepared.trainer)
            return _follow(prepared, feed, directory)
        observers = _watching(display, loggers)
        with held(directory.path):
            directory.reread()
            _check_same(directory, prepared)
            directory.restore_into(prepared.trainer)
            _check_ahead(directory, prepared.trainer)
            directory.cut(prepared.trainer.done)
            for notice in _changed_data(directory, prepared):
                display.say(f"warning: {notice}")
            changes = {"request": prepared.request.plain()}
            changes |= {name: prepared.facts[name] for name in ("training", "data")}
            directory.write(status="running", **changes)
            display.say(f"going on after {prepared.trainer.done} steps")
            return _lead(prepared, feed, directory, display, observers)


def _check_changes(request: TrainRequest, training: Mapping[str, Any]) -> None:
    """Refuse options that don't matter any more once a training has begun."""
    _, plugin = find_trainable(request.plugin)
    for name in sorted(plugin.Training.at_begin & set(training)):
        raise ConfigError(
            f"--set training.{name}: counts at the beginning of a training alone; leave it out "
            "with --resume, or begin another training"
        )


def _watching(display: Display, loggers: Sequence[str]) -> Observers:
    """Return who watches a training: all hook modules, and the loggers that were asked for."""
    return Observers(hooks(), lambda text: display.say(f"warning: {text}"), open_loggers(loggers))


def _check_same(directory: TrainingDirectory, prepared: PreparedTraining) -> None:
    before, now = directory.record["generator"]["fingerprint"], prepared.facts["generator"]
    if before != now["fingerprint"]:
        raise RunError(
            f"{directory.path}: was begun with generator {now['name']} {before}, which now is "
            f"{now['fingerprint']}; give it its weights back, or start again with --overwrite"
        )


def _changed_data(directory: TrainingDirectory, prepared: PreparedTraining) -> Iterator[str]:
    """Say which pictures aren't those that a training was begun with."""
    before = directory.record.get("data", {})
    for name, found in prepared.facts["data"].items():
        if before.get(name, found) != found:
            yield (
                f"--data {name}: its pictures or labels have changed since the training began, "
                "so that it goes on differently, and evaluations before don't compare with those "
                "to come"
            )


def _check_ahead(directory: TrainingDirectory, trainer: Trainer) -> None:
    steps = trainer.training.steps
    if steps < trainer.done:
        raise ConfigError(
            f"--set training.steps={steps}: {directory.path} has taken {trainer.done} steps "
            "already; give a larger number"
        )


def _follow(
    prepared: PreparedTraining, feed: Feed, directory: TrainingDirectory
) -> TrainingDirectory:
    """Take the steps of a process that neither writes nor shows."""
    trainer = prepared.trainer
    with stop_on_signals(trainer.lesson.context.state, lambda text: None):
        try:
            while trainer.done < trainer.training.steps and not trainer.step(feed).stop:
                pass
            trainer.team.wait()
        finally:
            feed.close()
    return directory


def _lead(
    prepared: PreparedTraining,
    feed: Feed,
    directory: TrainingDirectory,
    display: Display,
    observers: Observers,
) -> TrainingDirectory:
    """Take all steps with those who watch."""
    path = directory.path
    observers.call("inv3d_training_start", directory=path, config=deepcopy(directory.record))
    try:
        _take_all(prepared, feed, directory, display, observers)
    except BaseException as error:
        observers.call("inv3d_training_end", directory=path, error=error)
        raise
    observers.call("inv3d_training_end", directory=path, error=None)
    return directory


def _take_all(
    prepared: PreparedTraining,
    feed: Feed,
    directory: TrainingDirectory,
    display: Display,
    observers: Observers,
) -> None:
    """Take all steps, show, evaluate and keep."""
    trainer = prepared.trainer
    with stop_on_signals(trainer.lesson.context.state, display.say):
        try:
            _take_steps(prepared, feed, directory, display, observers)
        except (InterruptedRun, KeyboardInterrupt) as error:
            directory.write(status="interrupted")
            raise InterruptedRun(
                f"{str(error) or 'stopped'} after {trainer.done} of {trainer.training.steps} "
                f"steps; continue with '3dinv train --resume {directory.path}'"
            ) from error
        except DivergedError as error:
            # what diverges is bad some steps before its numbers show it: a checkpoint stays
            with contextlib.suppress(RunError, DivergedError):  # the disk may be full
                if not directory.begun:
                    directory.save(trainer, prepared)
            with contextlib.suppress(RunError):
                directory.write(status="failed", error=str(error))
            rate = f"--set training.lr={trainer.training.lr / 3:.1g}"
            way = f"nothing was kept; start again with --overwrite {rate}"
            if directory.begun:
                way = (
                    f"the weights of step {directory.record['steps']} are kept in "
                    f"{directory.path}; go on with '3dinv train --resume {directory.path} {rate}'"
                )
            raise DivergedError(f"{error}; {way}, or check the pictures") from error
        except (InputError, LeftAlone) as error:
            raise _kept_for_later(error, prepared, directory) from error
        except Exception as error:
            with contextlib.suppress(RunError):  # the disk may be full
                directory.write(status="failed", error=str(error))
            raise
        finally:
            feed.close()
    directory.write(status="finished", finished=timestamp())


def _kept_for_later(
    error: InputError | LeftAlone, prepared: PreparedTraining, directory: TrainingDirectory
) -> InputError | LeftAlone:
    """Keep what was learned before a step that failed; return the error with the way on."""
    trainer = prepared.trainer
    with contextlib.suppress(RunError, DivergedError):  # the disk may be full
        if trainer.done > directory.record["steps"]:
            directory.save(trainer, prepared)
    with contextlib.suppress(RunError):
        directory.write(status="failed", error=str(error))
    return type(error)(
        f"{error}; {directory.record['steps']} steps are kept: put it right, then go on with "
        f"'3dinv train --resume {directory.path}'"
    )


def _take_steps(
    prepared: PreparedTraining,
    feed: Feed,
    directory: TrainingDirectory,
    display: Display,
    observers: Observers,
) -> None:
    """Take the steps that are left.

    Raises:
        InterruptedRun: where a process was asked to stop; the state has been saved.
    """
    trainer, request, recent = prepared.trainer, prepared.request, _Recent()
    steps = trainer.training.steps
    while trainer.done < steps:
        started = time.perf_counter()
        taken = trainer.step(feed)
        seconds = time.perf_counter() - started
        done, last = trainer.done, trainer.done == steps
        saved = last or taken.stop or done % request.checkpoint_every == 0
        progress = Progress(STAGE, done - 1, steps, taken.losses, taken.rate, seconds)
        display.step(progress)
        observers.call("inv3d_training_step", directory=directory.path, progress=progress)
        if recent.add(taken, seconds) or last or taken.stop:
            directory.log(recent.row(done - 1))
        if saved:  # before an evaluation, in which more may go wrong
            directory.save(trainer, prepared)
        if last or done % request.evaluate_every == 0:
            display.say(_evaluate(prepared, directory, observers))
            if saved and not last:
                directory.keep(trainer, prepared)
        if taken.stop and not last:
            trainer.team.wait()
            raise InterruptedRun("stopped")
    if not directory.is_whole(steps):  # it was stopped after its last step
        directory.save(trainer, prepared)
        display.say(_evaluate(prepared, directory, observers))
    directory.keep(trainer, prepared)  # with the last evaluation, and as is asked for now
    trainer.team.wait()


def _evaluate(
    prepared: PreparedTraining, directory: TrainingDirectory, observers: Observers
) -> str:
    """Look at held-out pictures, write the page, and return a line of the numbers."""
    values, grids = evaluate(prepared)
    step, path = prepared.trainer.done, directory.path
    before = [row for row in directory.record["evaluations"] if row["step"] != step]
    rows = [*before, {"step": step, "values": values}]
    observers.call("inv3d_training_checked", directory=path, step=step, values=dict(values))
    page = training_page(directory.record | {"evaluations": rows}, directory.rows(), grids)
    write_text(directory.path / PAGE, page)
    directory.write(evaluations=rows)
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return f"held-out pictures after {step} steps: {numbers}"


@dataclass
class _Recent:
    """Mean of the last steps, which is a line of the log."""

    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    rate: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    count: int = 0

    def add(self, taken: Taken, seconds: float) -> bool:
        """Take a step in; whether a line is full."""
        for name, value in taken.losses.items():
            self.sums[name].append(value)
        self.rate, self.seconds, self.count = taken.rate, self.seconds + seconds, self.count + 1
        return self.count == _LOGGED

    def row(self, step: int) -> dict[str, Any]:
        """Return the line, and begin the next one."""
        losses = {name: sum(values) / len(values) for name, values in self.sums.items()}
        row = {"stage": STAGE, "step": step, "losses": losses, "lr": self.rate}
        row["seconds"] = self.seconds
        self.sums, self.seconds, self.count = defaultdict(list), 0.0, 0
        return row
