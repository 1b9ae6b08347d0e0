"""Writes the losses of every run into loss.csv, and shows the last ones: `3dinv zebra RUN`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import click

from inv3d import RunError, hookimpl

FILE = "loss.csv"


@hookimpl
def inv3d_run_start(directory: Path) -> None:
    """Begin the file, or go on with it where a run is resumed."""
    if not (directory / FILE).exists():
        write(directory, ("stage", "step", "loss"))


@hookimpl
def inv3d_run_step(directory: Path, progress: Any) -> None:
    """Add a line."""
    write(directory, (progress.stage, progress.step, progress.losses.get("total")))


def write(directory: Path, row: tuple[Any, ...]) -> None:
    """Add a row to the file of a run."""
    with (directory / FILE).open("a", newline="") as file:
        csv.writer(file).writerow(row)


@hookimpl
def inv3d_exporters() -> dict[str, Any]:
    """Offer `3dinv export RUN --format csv`: latents, one row a layer."""
    return {"csv": write_latents}


def write_latents(inversion: Any, generator: Any, path: Path) -> None:
    """Write the latents of a result."""
    with Path(path).open("w", newline="") as file:
        csv.writer(file).writerows(inversion.ws.flatten(0, 1).tolist())


@hookimpl
def inv3d_commands(group: click.Group) -> None:
    """Add `3dinv zebra RUN`."""
    group.add_command(command)


@click.command("zebra", short_help="Show the last loss of every stage of a run.")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Show the last loss of every stage of the run in directory RUN."""
    if not (run / FILE).is_file():
        raise RunError(f"{run}: no {FILE}; give a run that was made with this plugin")
    with (run / FILE).open(newline="") as file:
        last = {row["stage"]: row for row in csv.DictReader(file)}
    for stage, row in last.items():
        click.echo(f"{stage}: {row['loss']} after {int(row['step']) + 1} steps")
