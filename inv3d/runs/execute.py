"""Taking the steps of a run, and all that has to hold around them."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from inv3d.core.border import check_result
from inv3d.core.errors import ContractError, InterruptedRun
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.fit.state import RunState
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import Steps
from inv3d.core.registry.hooks import Observers, hooks, open_loggers
from inv3d.rundir.directory import RunDirectory, check_spared
from inv3d.rundir.files import LOG
from inv3d.rundir.frames import located
from inv3d.rundir.lock import held
from inv3d.rundir.log import read_log, stage_seconds
from inv3d.rundir.opening import read_metrics
from inv3d.rundir.record import Plan, new_record
from inv3d.runs import finish
from inv3d.runs.conclude import cause, conclude
from inv3d.runs.display import Display
from inv3d.runs.prepare import PreparedRun, never, prepare_again

# what the time of a method is called that has no stages
WHOLE = "inversion"


def start(
    run: PreparedRun,
    out: Path,
    display: Display,
    *,
    overwrite: bool,
    command: Sequence[str],
    loggers: Sequence[str] = (),
    batch: Mapping[str, Any] | None = None,
) -> tuple[RunDirectory, dict[str, Any]]:
    """Take a run from its first step to its report, in a new directory.

    Args:
        run: as `prepare` returns it.
        out: the directory.
        display: shows what happens.
        overwrite: replace a run that is there.
        command: the command line, for the record.
        loggers: that watch it, such as "tensorboard" or "wandb?project=heads".
        batch: what the record says of the batch that the run belongs to.

    Returns:
        The directory and the metrics.

    Raises:
        InvError: where the run can't begin, in which case no directory is left, or can't go on,
            or has no report in the end, in which case its result stays.
    """
    if run.plan.init is not None and run.plan.init.path is not None:
        check_spared(out, {run.plan.init.path: "what --init names"})
    watching = _watching(display, loggers)
    record = new_record(run.plan, warnings=run.notices, command=command)
    if batch is not None:
        record["batch"] = dict(batch)
    directory = RunDirectory.create(out, record, overwrite=overwrite)
    for notice in run.notices:
        display.say(f"warning: {notice}")
    try:
        with held(directory.path):
            context = run.context(directory.checkpoint)
            return directory, _take(run, directory, context, display, watching)
    except BaseException:
        directory.abandon()
        raise


def resume(
    directory: RunDirectory,
    display: Display,
    loggers: Sequence[str] = (),
    *,
    halt: Callable[[], bool] = never,
    view_chunk: int | None = None,
) -> dict[str, Any]:
    """Go on with a run where its checkpoint stands, to the same result.

    Args:
        directory: of the run.
        display: shows what happens.
        loggers: see `start`.
        halt: see `PreparedRun`.
        view_chunk: views rendered at a time at most from here on, where memory has run out.

    Returns:
        The metrics; those that are there where another process has finished the run meanwhile.

    Raises:
        InvError: where something that the run began with has changed, or it can't go on.
        RunError: where another process is at work on it.
    """
    begun = not directory.is_finished
    with held(directory.path):
        directory.reread()
        if begun and directory.is_finished:
            return read_metrics(directory.path)
        watching = _watching(display, loggers)
        plan = Plan.read(directory.record, directory.path)
        run = prepare_again(plan, directory.path)
        run.halt = halt
        context = run.context(directory.checkpoint)
        taken = context.state.restore() if directory.checkpoint.is_file() else 0
        if view_chunk is not None:
            context.state.view_chunk = min(view_chunk, context.state.view_chunk or view_chunk)
        directory.cut_log(taken)
        directory.enter("running")
        display.say(f"going on after {taken} steps")
        return _take(run, directory, context, display, watching)


def _watching(display: Display, loggers: Sequence[str]) -> Observers:
    """Return who watches a run: all hook modules, and the loggers that were asked for."""
    return Observers(hooks(), lambda text: display.say(f"warning: {text}"), open_loggers(loggers))


def _take(
    run: PreparedRun,
    directory: RunDirectory,
    context: Context,
    display: Display,
    observers: Observers,
) -> dict[str, Any]:
    path = directory.path
    # a copy of its own for everybody, whatever they do with it
    observers.call("inv3d_run_start", directory=path, config=deepcopy(directory.record))
    try:
        inversion, seconds = _invert(run, directory, context, display, observers)
        metrics = conclude(
            directory,
            lambda: _report(run, directory, inversion, seconds, context, display),
            seconds,
        )
    except BaseException as error:
        observers.call("inv3d_run_failed", directory=path, error=error)
        raise
    observers.call("inv3d_run_end", directory=path, inversion=inversion, metrics=deepcopy(metrics))
    return metrics


def _invert(
    run: PreparedRun,
    directory: RunDirectory,
    context: Context,
    display: Display,
    observers: Observers,
) -> tuple[Inversion, dict[str, float]]:
    """Take all steps and save the result, which stays; return it and the seconds of its stages."""
    started = time.perf_counter()
    try:
        inversion = _take_steps(run, directory, context, display, observers)
        inversion.save(directory.path)
        directory.update(losses=context.state.weights)
        directory.begun()
    except (InterruptedRun, KeyboardInterrupt) as error:
        if directory.new:
            raise
        directory.enter("interrupted")
        again = f"continue with '3dinv run --resume {directory.path}'"
        raise InterruptedRun(f"{str(error) or 'stopped'}; {again}") from error
    except Exception as error:
        if not directory.new:
            directory.enter("failed", error=cause(error))
        raise
    elapsed = time.perf_counter() - started + (run.found.seconds if run.found else 0.0)
    return inversion, stage_seconds(read_log(directory.path / LOG)) or {WHOLE: elapsed}


def _take_steps(
    run: PreparedRun,
    directory: RunDirectory,
    context: Context,
    display: Display,
    observers: Observers,
) -> Inversion:
    notices = _Notices(context.state, directory, display)
    with stop_on_signals(context.state, display.say):
        steps = _begun(run.steps(context), run.plan.method.name)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                notices.show()
                return check_result(end.value, run.generator, run.plan.method.name)
            _check_step(step, run.plan.method.name)
            directory.begun()
            directory.log(step)
            display.step(step)
            notices.show()
            observers.call("inv3d_run_step", directory=directory.path, progress=step)
            if run.halt():
                context.state.stop_requested = True


def _begun(steps: Any, method: str) -> Steps:
    if isinstance(steps, Iterator):
        return steps  # type: ignore[return-value]
    raise ContractError(
        f"method {method}: its steps() returns '{type(steps).__name__}', expected a function that "
        "yields; report it to the method's author"
    )


def _check_step(step: Any, method: str) -> None:
    if not isinstance(step, Progress):
        raise ContractError(
            f"method {method}: its steps yielded '{type(step).__name__}', expected a Progress; "
            "report it to the method's author"
        )


def _report(
    run: PreparedRun,
    directory: RunDirectory,
    inversion: Inversion,
    seconds: dict[str, float],
    context: Context,
    display: Display,
) -> dict[str, Any]:
    # a method without steps has none after which it could have stopped
    if context.state.stop_requested:
        raise InterruptedRun("stopped")
    part = run.plan.input
    return finish.finish_run(
        directory.path,
        run.generator,
        inversion,
        *located(run.capture, inversion, part.chosen, part.held_out),
        device=run.device,
        seconds=seconds,
        pictures=run.plan.pictures,
        diagnostics=run.method.diagnostics() if run.plan.pictures else (),
        on_progress=display.say,
    )


class _Notices:
    """Shows what the loop has to say, once, and keeps it in `run.json`."""

    def __init__(self, state: RunState, directory: RunDirectory, display: Display) -> None:
        self.state = state
        self.directory = directory
        self.display = display

    def show(self) -> None:
        """Show what is new."""
        known = self.directory.record["warnings"]
        new = [notice for notice in self.state.notices if notice not in known]
        if new:
            self.directory.update(warnings=[*known, *new])
        for notice in new:
            self.display.say(f"warning: {notice}")


@contextlib.contextmanager
def stop_on_signals(state: RunState, say: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run after the current step; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if state.stop_requested:
            raise KeyboardInterrupt
        state.stop_requested = True
        say("stopping after this step; once more to stop at once")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
