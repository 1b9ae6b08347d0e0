"""`3dinv prepare`: a capture of a video or of photographs."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.numbers import finite
from inv3d.commands.output import print_json
from inv3d.commands.paths import PATH
from inv3d.core.errors import UsageError
from inv3d.core.registry.discovery import registry

if TYPE_CHECKING:
    from inv3d.photos.options import Options
    from inv3d.photos.prepare import OnProgress, Prepared


@click.command("prepare")
@click.argument("inputs", nargs=-1, required=True, type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="Folder of the capture.")
@click.option("--overwrite", is_flag=True, help="Replace a capture that is there.")
@click.option(
    "--generator", default="minihead", show_default=True, help="Whose crop and cameras are made."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the generator, such as variant=lpff.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Frames that are kept at most: those nearest to evenly spaced angles.",
)
@click.option(
    "--look-at",
    type=click.IntRange(min=1),
    default=600,
    show_default=True,
    help="Frames of a video that are looked at, at most.",
)
@click.option(
    "--size",
    type=click.IntRange(16, 4096),
    help="Pixels a side of the pictures.  [default: the generator's]",
)
@click.option(
    "--face",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Which face of several, by size; 1 is the largest.",
)
@click.option(
    "--yaw",
    multiple=True,
    metavar="[NAME=]DEGREES",
    help="Yaw of all pictures, or of one by its name, instead of the estimate.",
)
@click.option(
    "--pitch",
    type=float,
    callback=finite,
    default=0.0,
    help="Pitch of pictures whose yaw is given.",
)
@click.option(
    "--landmarks",
    type=PATH,
    help="JSON of 5 or 468 points by the pictures' names, for faces that aren't found.",
)
@click.option("--masks", type=PATH, help="Folder of mattes of your own.")
@click.option(
    "--matte",
    type=click.Choice(["network", "fine", "none"]),
    default="network",
    show_default=True,
    help="Who tells the person from the background; fine follows hair (3dinv[matting]).",
)
@click.option(
    "--white/--no-white",
    default=None,
    help="Put the person on white.  [default: as the generator's data have it]",
)
@click.option("--mirror", is_flag=True, help="Turn mirrored pictures back, as selfies often are.")
@click.option("--keep-all", is_flag=True, help="Keep blurred, blinking and doubled frames.")
@click.option("--no-smooth", is_flag=True, help="Leave the cameras of a video unsmoothed.")
@click.option("--no-correct", is_flag=True, help="Leave angles as a mean face fits.")
@click.option(
    "--refine",
    is_flag=True,
    help="Fit the generator to the frames, and their cameras and crops with it.",
)
@click.option(
    "--refine-steps",
    type=click.IntRange(min=1),
    default=150,
    show_default=True,
    help="Steps of --refine.",
)
@click.option(
    "--weights",
    type=PATH,
    help="Of the generator, for --refine, where none are embedded.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(inputs: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:
    """Make a capture of INPUTS: a video, photographs, or folders of them.

    Every frame is searched for a face, cropped as the generator's pictures are, given a camera, and
    put on white. Blurred, blinking and doubled frames are left out. The page prepare.html in the
    capture shows what was done and why.
    """
    registry().record("generators", given["generator"])
    prepared = _prepare(_options_of(inputs, given), out, overwrite=given["overwrite"])
    if as_json:
        _print_record(prepared)
    else:
        _show(prepared)


def prepare_for_run(options: Mapping[str, Any], generator: Mapping[str, Any], out: Path) -> Path:
    """Make the capture of a run, beside its directory.

    Args:
        options: of `3dinv run`.
        generator: options of the generator.
        out: directory of the run.

    Returns:
        The folder of the capture.
    """
    from inv3d.photos.raw import options_for

    capture = out.with_name(f"{out.name}-capture")
    wanted = options_for(options["input"], options["generator"], generator)
    prepared = _prepare(wanted, capture, overwrite=options["overwrite"])
    for warning in prepared.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{_counts(prepared)}; see {capture}", err=True)
    return capture


def _prepare(options: Options, out: Path, *, overwrite: bool) -> Prepared:
    from inv3d.photos.prepare import prepare_capture
    from inv3d.photos.replacing import made_way

    with made_way(out, overwrite=overwrite), _progress() as on_progress:
        return prepare_capture(options, out, on_progress)


def _options_of(inputs: tuple[Path, ...], given: Mapping[str, Any]) -> Options:
    """Return the options of a command line."""
    from inv3d.core.config import parse_overrides
    from inv3d.photos.options import Options

    return Options(
        inputs=inputs,
        generator=given["generator"],
        generator_options=parse_overrides(given["settings"]),
        frames=given["frames"],
        look_at=given["look_at"],
        size=given["size"],
        face=given["face"],
        yaw_deg=dict(map(_yaw, given["yaw"])),
        pitch_deg=given["pitch"],
        landmarks=given["landmarks"],
        masks=given["masks"],
        matte=given["matte"],
        white=given["white"],
        mirror=given["mirror"],
        keep_all=given["keep_all"],
        smooth=not given["no_smooth"],
        correct=not given["no_correct"],
        refine=given["refine_steps"] if given["refine"] else 0,
        weights=given["weights"],
    )


def _yaw(text: str) -> tuple[str, float]:
    """Read "12.5" or "me.jpg=12.5"."""
    name, _, number = text.rpartition("=")
    try:
        degrees = float(number)
    except ValueError:
        degrees = float("nan")
    if not -180 <= degrees <= 180:
        raise UsageError(f"--yaw {text}: expected degrees from -180 to 180, or NAME=DEGREES")
    return name, degrees


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Show on stderr how far it is: a bar on a terminal, nothing where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn())
    console = Console(file=sys.stderr)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        tasks: dict[str, Any] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield on_progress


def _print_record(prepared: Prepared) -> None:
    from inv3d.core.files import read_json
    from inv3d.io.naming import PREPARED

    print_json({"directory": str(prepared.out), **read_json(prepared.out / PREPARED)})


def _show(prepared: Prepared) -> None:
    """Print what was made."""
    from inv3d.photos.prepare import PAGE

    for warning in prepared.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(_counts(prepared))
    raw = [s.pose.uncorrected_yaw for s in prepared.kept if s.pose and not s.by_hand]
    if raw:
        low, high = math.degrees(min(raw)), math.degrees(max(raw))
        click.echo(f"  uncorrected: {low:+.1f} to {high:+.1f} degrees")
    left = Counter(s.sort for s in prepared.sights if not s.kept)
    for reason, count in left.most_common():
        click.echo(f"  left out: {count} {reason}")
    click.echo(f"  capture: {prepared.out}\n  page: {prepared.out / PAGE}")


def _counts(prepared: Prepared) -> str:
    """Return how many frames there are, and from where they're seen."""
    yaws = [math.degrees(sight.yaw) for sight in prepared.kept]
    count = f"{len(yaws)} of {len(prepared.sights)} frames"
    if len(yaws) == 1:
        return f"{count}, yaw {yaws[0]:+.1f} degrees"
    return f"{count}, yaw {min(yaws):+.1f} to {max(yaws):+.1f} degrees"
