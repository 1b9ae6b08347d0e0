"""`3dinv eval`: the metrics of a finished run, computed again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.metric import metric_option
from inv3d.commands.output import print_json, print_numbers
from inv3d.commands.paths import CAPTURE, PATH
from inv3d.core.errors import UsageError
from inv3d.rundir.files import LOG, METRICS

if TYPE_CHECKING:
    from inv3d.rundir.frames import Frames
    from inv3d.rundir.opening import Run


@click.command("eval")
@click.argument("run", type=PATH)
@click.option(
    "--input",
    "source",
    type=CAPTURE,
    help="Measure against another capture; all its frames count as held out.",
)
@metric_option
@click.option("--save", is_flag=True, help=f"Write the numbers into RUN/{METRICS}.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    run: Path,
    source: str | None,
    metrics: dict[str, str],
    save: bool,
    device: str,
    as_json: bool,
) -> None:
    """Measure the finished run in directory RUN, by default against the capture it was made from.

    On the same device the numbers are those that the run printed. A run whose report couldn't be
    made gets it with --save.
    """
    if save and source is not None:
        raise UsageError("--save is for the run's own capture; leave --input out")
    from inv3d.core.device import resolve_device
    from inv3d.core.generator import add_metrics
    from inv3d.rundir.lock import held
    from inv3d.rundir.opening import open_run, run_capture

    opened = open_run(run, resolve_device(device))
    add_metrics(opened.generator, metrics)
    otherwise = "give the capture to measure against with --input PATH"
    frames = run_capture(opened, source, otherwise=otherwise)
    if save:
        with held(run):
            measured = _saved(opened, frames, device)
    else:
        measured = _measured(opened, frames, device)
    if as_json:
        print_json(measured)
        return
    _show(measured, f"{run} against {frames[0].source}")


def _saved(run: Run, frames: Frames, device: str) -> dict[str, Any]:
    """Write the numbers, and the whole report where the run has been left without one."""
    from inv3d.core.device import resolve_device
    from inv3d.core.files import write_json
    from inv3d.rundir.directory import RunDirectory
    from inv3d.runs.conclude import report_again
    from inv3d.runs.display import Lines

    directory = RunDirectory.reopen(run.directory)
    if directory.record.get("status") == "finished":
        metrics = _measured(run, frames, device)
        write_json(run.directory / METRICS, metrics)
        return metrics

    return report_again(
        directory, run, frames, device=resolve_device(device), on_progress=Lines().say
    )


def _measured(run: Run, frames: Frames, device: str) -> dict[str, Any]:
    import time

    from inv3d.core.device import resolve_device
    from inv3d.report.metrics import evaluate
    from inv3d.report.warnings import find_warnings
    from inv3d.rundir.log import read_log

    generator, inversion, (capture, chosen, held_out) = run.generator, run.inversion, frames
    started = time.perf_counter()
    metrics = evaluate(generator, inversion, capture, chosen, held_out, resolve_device(device))
    taken = time.perf_counter() - started
    metrics["seconds"] = {**run.record.get("seconds", {}), "metrics": taken}
    log = read_log(run.directory / LOG)
    metrics["warnings"] = find_warnings(generator, inversion, capture, metrics, log)
    return metrics


def _show(metrics: Mapping[str, Any], title: str) -> None:
    from inv3d.report.columns import run_columns
    from inv3d.report.tables import (
        arrow,
        judges_said,
        labelled_notes,
        metric_labels,
        metric_rows,
        number,
    )

    print_numbers("frames", metric_labels(metrics), metric_rows(metrics), title=title)
    for said in judges_said(metrics):
        click.echo(said)
    for column in run_columns(metrics):
        value = number(metrics[column.key], column.digits)
        click.echo(f"{column.label} {arrow(column.better)} {value}")
    for name, reason in labelled_notes(metrics):
        click.echo(f"note: {name}: {reason}")
    for warning in metrics["warnings"]:
        click.echo(f"warning: {warning}", err=True)
