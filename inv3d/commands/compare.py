"""`3dinv compare`: several runs, or several batches of runs, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inv3d.commands.output import print_json, print_numbers, print_table
from inv3d.commands.paths import PATH
from inv3d.core.errors import UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from inv3d.core.capture import Capture
    from inv3d.io.images import Frame
    from inv3d.report.compare import ComparedRun, Section

_VIEWS = 5


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one record a run.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line a run.")
@click.option("--html", type=PATH, help="Also write the table as a page.")
@click.option(
    "--picture",
    type=PATH,
    help="Also write a PNG: targets in the first row, then a row for every run.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
def command(
    runs: tuple[Path, ...],
    as_json: bool,
    as_csv: bool,
    html: Path | None,
    picture: Path | None,
    device: str,
) -> None:
    """Put the finished runs in directories RUNS into one table; or batches, paired by item.

    The best number of a column is bold, or has a star where the output is no terminal.

    Lower is better for MSE, perceptual distance, depth error, depth consistency and latent
    distance; higher for PSNR, MS-SSIM and ID. All numbers are those of the runs' metrics.json.
    """
    if as_json and as_csv:
        raise UsageError("give one of --json and --csv")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: expected a name that ends in .png")
    from inv3d.rundir.batch import is_batch

    batches = [path for path in runs if is_batch(path)]
    if batches:
        _compare_batches(runs, batches, as_json, as_csv, html, picture)
        return
    from inv3d.report.compare import mismatches, read_runs, records, sections, to_csv

    compared = read_runs(runs)
    for text in mismatches(compared):
        said = f"warning: {text}; their numbers can't be compared, so that none is marked as best"
        click.echo(said, err=True)
    if as_json:
        print_json(records(compared))
    elif as_csv:
        click.echo(to_csv(compared), nl=False)
    else:
        _print(compared, sections(compared))
    sheet = None
    if picture is not None:
        from inv3d.report.pictures import save_png

        sheet = _side_by_side(runs, compared, device)
        save_png(picture, sheet)
    if html is not None:
        _write_html(html, compared, sheet)


def _compare_batches(
    paths: Sequence[Path],
    batches: Sequence[Path],
    as_json: bool,
    as_csv: bool,
    html: Path | None,
    picture: Path | None,
) -> None:
    """Compare every batch with the first one, item by item."""
    if len(batches) < len(paths):
        single = next(path for path in paths if path not in batches)
        raise UsageError(f"{single} is a run and {batches[0]} a batch; give one kind")
    if len(batches) < 2:
        raise UsageError(
            f"{batches[0]}: a single batch; its page is summary.html, give another too"
        )
    if picture is not None:
        raise UsageError(
            "--picture is for runs; the worst items of a batch are in its summary.html"
        )
    from inv3d.core.files import write_text
    from inv3d.report import paired
    from inv3d.report.compare import csv_of

    compared = paired.read_batches(batches)
    for text in paired.doubts(compared):
        click.echo(f"warning: {text}", err=True)
    if as_json:
        print_json(paired.batch_records(compared))
    elif as_csv:
        click.echo(csv_of(paired.batch_records(compared)), nl=False)
    else:
        for other in compared[1:]:
            rows = [(paired.title_of(p), paired.cells(p)) for p in paired.paired(compared, other)]
            title = paired.against(compared[0], other)
            print_numbers("metric", paired.LABELS, rows, title=title)
    if html is not None:
        write_text(html, paired.batches_page(compared))


def _print(compared: Sequence[ComparedRun], parts: Sequence[Section]) -> None:
    """Print the runs, then a table for every part; the best of a column is bold."""
    from rich.console import Console

    from inv3d.report.compare import labels_of

    terminal = Console().is_terminal
    runs = [(run.name, run.method, run.views) for run in compared]
    print_table(("run", "method", "views"), runs)
    for part in parts:
        click.echo()
        cells = [[_number(text, best, terminal) for text, best in row] for row in part.cells]
        names = [run.name for run in compared]
        print_numbers("run", labels_of(part), zip(names, cells, strict=True), title=part.title)


def _number(text: str, best: bool, terminal: bool) -> Text:
    """Return a number, bold where it's the best; with a star where bold can't be seen."""
    from rich.text import Text

    if terminal:
        return Text(text, style="bold" if best else "")
    return Text(f"{text}{'*' if best else ' '}")


def _side_by_side(runs: Sequence[Path], compared: Sequence[ComparedRun], device: str) -> Frame:
    """Return targets and every run's reconstructions of the same frames."""
    from inv3d.core.device import resolve_device
    from inv3d.report import pictures as pics
    from inv3d.report.views import render_views
    from inv3d.rundir.opening import open_run, run_capture

    rows: list[list[Frame]] = []
    first = open_run(runs[0], resolve_device(device))
    capture, _, _ = run_capture(first, otherwise="leave --picture out")
    shown = capture[_shown(capture)]
    inputs = {listed.record["input"]["path"] for listed in compared}
    target = "target" if len(inputs) == 1 else f"target of {compared[0].name}"
    rows.append([pics.labelled(f, target) for f in pics.colour_frames(shown.images)])
    for directory, listed in zip(runs, compared, strict=True):
        run = open_run(directory, resolve_device(device))
        if run.generator.spec.resolution != first.generator.spec.resolution:
            raise UsageError(
                f"--picture: {directory} has pictures of {run.generator.spec.resolution} pixels, "
                f"{runs[0]} of {first.generator.spec.resolution}; leave one out"
            )
        seen = render_views(run.generator, run.inversion, shown.camera, frames=shown.names)
        frames = [f for _, r in seen for f in pics.colour_frames(r.require("image"))]
        rows.append([pics.labelled(frame, listed.name) for frame in frames])
    return pics.tile(rows)


def _shown(capture: Capture) -> list[int]:
    """Choose views from all sides; where cameras stand still, frames from beginning to end."""
    from inv3d.core.capture import evenly_by_angle

    count = min(_VIEWS, len(capture))
    rows = sorted(set(evenly_by_angle(capture.camera.yaw, count)))
    if len(rows) == count:
        return rows
    return [round(i * (len(capture) - 1) / max(1, count - 1)) for i in range(count)]


def _write_html(path: Path, compared: Sequence[ComparedRun], sheet: Frame | None) -> None:
    from inv3d.core.files import write_text
    from inv3d.report.compare import to_html
    from inv3d.report.pictures import data_uri

    write_text(path, to_html(compared, "" if sheet is None else data_uri(sheet)))
