"""Taking the steps of a run, and all that has to hold around them."""

from __future__ import annotations

import contextlib
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from inv3d.core.errors import InterruptedRun, InvError
from inv3d.core.fit.context import Context
from inv3d.core.fit.state import RunState
from inv3d.core.inversion import Inversion
from inv3d.core.registry.hooks import Observers, hooks
from inv3d.rundir.directory import LOG, RunDirectory
from inv3d.rundir.lock import held
from inv3d.rundir.log import read_log
from inv3d.rundir.record import Plan
from inv3d.runs.display import Display
from inv3d.runs.prepare import Job, prepare_again

_VERSIONS = ("3dinv", "torch", "numpy", "pillow", "safetensors", "pydantic")


def start(
    job: Job, out: Path, display: Display, *, overwrite: bool, command: Sequence[str]
) -> tuple[RunDirectory, dict[str, Any]]:
    """Run a job in a new directory.

    Args:
        job: as `prepare` returns it.
        out: the directory.
        display: shows what happens.
        overwrite: replace a run that is there.
        command: the command line, for the record.

    Returns:
        The directory and the metrics.

    Raises:
        InvError: where the run can't begin, in which case no directory is left, or can't go on.
    """
    record = job.plan.model_dump(mode="json") | {
        "status": "running",
        "versions": {n: version(n) for n in _VERSIONS} | {"python": platform.python_version()},
        "platform": platform.platform(),
        "command": list(command),
        "started": _now(),
        "warnings": job.notices,
    }
    directory = RunDirectory.create(out, record, overwrite=overwrite)
    for notice in job.notices:
        display.say(f"warning: {notice}")
    try:
        with held(directory.path):
            return directory, _run(job, directory, job.context(directory.checkpoint), display)
    except BaseException:
        directory.abandon()
        raise


def resume(directory: RunDirectory, display: Display) -> dict[str, Any]:
    """Go on with a run where its checkpoint stands, to the same result.

    Returns:
        The metrics.

    Raises:
        InvError: where something that the run began with has changed, or it can't go on.
        RunError: where another process is at work on it.
    """
    with held(directory.path):
        job = prepare_again(Plan.read(directory.record, directory.path))
        context = job.context(directory.checkpoint)
        taken = context.state.restore() if directory.checkpoint.is_file() else 0
        directory.cut_log(taken)
        directory.update(status="running")
        display.say(f"going on after {taken} steps")
        return _run(job, directory, context, display)


def _run(job: Job, directory: RunDirectory, context: Context, display: Display) -> dict[str, Any]:
    again = f"continue with '3dinv run --resume {directory.path}'"
    observers = Observers(hooks(), lambda text: display.say(f"warning: {text}"))
    observers.call("inv3d_run_start", directory=directory.path, config=dict(directory.record))
    try:
        inversion = _take_steps(job, directory, context, display, observers)
        inversion.save(directory.path)
        metrics = _finish(job, directory, inversion, display)
    except (InterruptedRun, KeyboardInterrupt) as error:
        if directory.new:
            raise
        directory.update(status="interrupted")
        raise InterruptedRun(f"{str(error) or 'stopped'}; {again}") from error
    except InvError as error:
        if not directory.new:
            directory.update(status="failed", error=str(error))
        raise
    observers.call("inv3d_run_end", directory=directory.path, inversion=inversion, metrics=metrics)
    directory.update(status="finished", finished=_now(), seconds=metrics["seconds"])
    directory.checkpoint.unlink(missing_ok=True)
    return metrics


def _take_steps(
    job: Job, directory: RunDirectory, context: Context, display: Display, observers: Observers
) -> Inversion:
    chosen = job.capture[job.plan.input.chosen]
    notices = _Notices(context.state, directory, display)
    with stop_on_signals(context.state, display.say):
        steps = job.method.steps(job.generator, chosen, context)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                notices.show()
                inversion: Inversion = end.value
                return inversion
            directory.begun()
            directory.log(step)
            display.step(step)
            notices.show()
            observers.call("inv3d_run_step", directory=directory.path, progress=step)


def _finish(job: Job, directory: RunDirectory, inversion: Any, display: Display) -> dict[str, Any]:
    from inv3d.runs.finish import finish_run

    seconds: dict[str, float] = {}
    for row in read_log(directory.path / LOG):
        seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
    return finish_run(
        directory.path,
        job.generator,
        inversion,
        job.capture,
        list(job.plan.input.chosen),
        list(job.plan.input.held_out),
        device=job.device,
        seconds=seconds,
        pictures=job.plan.pictures,
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


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
