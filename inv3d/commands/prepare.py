"""`3dinv prepare`: a capture of a video or of photographs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.output import print_json
from inv3d.core.errors import UsageError
from inv3d.core.registry.discovery import registry

if TYPE_CHECKING:
    from inv3d.prepare.options import Options
    from inv3d.prepare.prepare import OnProgress, Prepared


@click.command("prepare")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the capture."
)
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
@click.option("--pitch", type=float, default=0.0, help="Pitch of pictures whose yaw is given.")
@click.option(
    "--landmarks",
    type=click.Path(path_type=Path),
    help="JSON of 5 or 468 points by the pictures' names, for faces that aren't found.",
)
@click.option("--masks", type=click.Path(path_type=Path), help="Folder of mattes of your own.")
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
@click.option("--no-correct", is_flag=True, help="Leave the yaw as the rigid fit has it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(inputs: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:
    """Make a capture of INPUTS: a video, photographs, or folders of them.

    Every frame is searched for a face, cropped as the generator's pictures are, given a camera, and
    put on white. Blurred, blinking and doubled frames are left out. The page prepare.html in the
    capture shows what was done and why.
    """
    registry().record("generators", given["generator"])
    options = options_of(inputs, given)

    from inv3d.prepare.prepare import prepare_capture
    from inv3d.prepare.replacing import made_way

    with made_way(out, overwrite=given["overwrite"]), progress() as on_progress:
        prepared = prepare_capture(options, out, on_progress)
    show(prepared, as_json=as_json)


def options_of(inputs: tuple[Path, ...], given: Mapping[str, Any]) -> Options:
    """Return the options of a command line."""
    from inv3d.core.config import parse_overrides
    from inv3d.prepare.options import Options

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
        correct_yaw=not given["no_correct"],
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
def progress() -> Iterator[OnProgress]:
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


def show(prepared: Prepared, *, as_json: bool) -> None:
    """Print what was made."""
    import math
    from collections import Counter

    from inv3d.core.files import finite, read_json
    from inv3d.prepare.prepare import PAGE, RECORD

    if as_json:
        print_json(finite({"directory": str(prepared.out), **read_json(prepared.out / RECORD)}))
        return
    for warning in prepared.warnings:
        click.echo(f"warning: {warning}", err=True)
    kept = prepared.kept
    yaws = [math.degrees(sight.yaw) for sight in kept]
    click.echo(
        f"{len(kept)} of {len(prepared.sights)} frames, yaw {min(yaws):+.1f} to {max(yaws):+.1f} "
        "degrees"
    )
    raw = [math.degrees(s.pose.uncorrected_yaw) for s in kept if s.pose and not s.by_hand]
    if raw:
        click.echo(f"  uncorrected: {min(raw):+.1f} to {max(raw):+.1f} degrees")
    left = Counter(s.reasons[0].split(":")[0] for s in prepared.sights if not s.kept)
    for reason, count in left.most_common():
        click.echo(f"  left out: {count} {reason}")
    click.echo(f"  capture: {prepared.out}\n  page: {prepared.out / PAGE}")
