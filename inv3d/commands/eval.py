"""`3dinv eval`: the metrics of a finished run, computed again."""

from __future__ import annotations

from pathlib import Path

import click

from inv3d.commands.output import print_json, print_table
from inv3d.core.errors import UsageError


@click.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--input", "source", help="Measure against another capture; all its frames count as held out."
)
@click.option("--save", is_flag=True, help="Write the numbers into RUN/metrics.json.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path, source: str | None, save: bool, device: str, as_json: bool) -> None:
    """Measure the finished run in directory RUN, by default against the capture it was made from.

    On the same device the numbers are those that the run printed.
    """
    if save and source is not None:
        raise UsageError("--save is for the run's own capture; leave --input out")
    import time

    from inv3d.core.device import resolve_device
    from inv3d.core.files import write_json
    from inv3d.report.columns import run_columns
    from inv3d.report.metrics import evaluate
    from inv3d.report.tables import arrow, metric_labels, metric_rows, number
    from inv3d.report.warnings import find_warnings
    from inv3d.rundir.log import read_log
    from inv3d.rundir.opening import METRICS, open_run, run_capture

    opened = open_run(run, resolve_device(device))
    capture, chosen, held_out = run_capture(opened, source)
    started = time.perf_counter()
    generator, inversion = opened.generator, opened.inversion
    metrics = evaluate(generator, inversion, capture, chosen, held_out, resolve_device(device))
    seconds = {**opened.record.get("seconds", {}), "metrics": time.perf_counter() - started}
    metrics["seconds"] = seconds
    log = read_log(run / "steps.jsonl")
    metrics["warnings"] = find_warnings(generator, inversion, capture, metrics, log)
    if save:
        write_json(run / METRICS, metrics)
    if as_json:
        print_json(metrics)
        return
    rows = [(title, *cells) for title, cells in metric_rows(metrics)]
    print_table(("", *metric_labels(metrics)), rows, title=f"{run} against {capture.source}")
    for column in run_columns(metrics):
        value = number(metrics[column.key], column.digits)
        click.echo(f"{column.label} {arrow(column.better)} {value}")
    for name, reason in metrics["notes"].items():
        click.echo(f"note: {name}: {reason}")
    for warning in metrics["warnings"]:
        click.echo(f"warning: {warning}", err=True)
