"""The last act of a run: its report. The result is saved by then, and stays whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from inv3d.core.capture import Capture
from inv3d.core.errors import InterruptedRun, InvError, RunError, first_line
from inv3d.core.registry.blame import blamed
from inv3d.rundir.directory import RunDirectory
from inv3d.rundir.files import LOG
from inv3d.rundir.log import read_log, stage_seconds
from inv3d.rundir.opening import Run
from inv3d.runs import finish


def conclude(
    directory: RunDirectory, report: Callable[[], dict[str, Any]], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Make the report and say in `run.json` that the run is finished, or why it has none.

    Args:
        directory: of the run, with its result.
        report: writes everything and returns the metrics.
        seconds: stage -> seconds of the inversion, for a report that is made later.

    Raises:
        RunError: where the report can't be made.
        InterruptedRun: where the user stopped it.
    """
    try:
        metrics = report()
    except (Exception, KeyboardInterrupt) as error:
        stopped = isinstance(error, InterruptedRun | KeyboardInterrupt)
        reason = "stopped" if stopped else cause(error)
        # the same trouble, such as a full disk, may be in the way of this too
        with contextlib.suppress(InvError):
            directory.enter("unreported", error=reason, seconds=dict(seconds))
        raise (InterruptedRun if stopped else RunError)(
            f"{directory.path}: the result is safe, but it has no report ({reason}); make it with "
            f"'3dinv eval {directory.path} --save'"
        ) from error
    directory.finished(metrics["seconds"])
    return metrics


def cause(error: BaseException) -> str:
    """Say in one line what went wrong, and in whose plugin."""
    return first_line(error) if isinstance(error, InvError) else blamed(error)


def report_again(
    directory: RunDirectory,
    run: Run,
    frames: tuple[Capture, list[int], list[int]],
    *,
    device: torch.device,
    on_progress: Callable[[str], None],
) -> dict[str, Any]:
    """Make the report that a run has been left without; pictures of the method's own are lost.

    Args:
        directory: of the run.
        run: the same run, loaded.
        frames: the capture, the chosen and the held-out frames.
        device: where everything runs.
        on_progress: is told what happens, a line a step.

    Returns:
        The metrics.

    Raises:
        RunError: where it can't be made this time either.
        InterruptedRun: where the user stopped it.
    """
    seconds = directory.record.get("seconds") or stage_seconds(read_log(directory.path / LOG))

    def report() -> dict[str, Any]:
        directory.enter("running")
        return finish.finish_run(
            directory.path,
            run.generator,
            run.inversion,
            *frames,
            device=device,
            seconds=dict(seconds),
            pictures=directory.record.get("pictures", True),
            on_progress=on_progress,
        )

    return conclude(directory, report, seconds)
