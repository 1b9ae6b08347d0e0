"""`3dinv run`: invert a capture."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.given import options_given
from inv3d.commands.metric import metric_option
from inv3d.commands.numbers import seed
from inv3d.commands.output import print_json, print_numbers
from inv3d.commands.paths import CAPTURE, PATH
from inv3d.core.errors import ConfigError, RunError
from inv3d.core.registry.discovery import registry
from inv3d.rundir.files import RECORD, REPORT

if TYPE_CHECKING:
    from inv3d.rundir.directory import RunDirectory
    from inv3d.runs.prepare import Request

RUNS = Path("runs")
# what may be said again when a run is resumed; everything else is in its run.json
_WITH_RESUME = {"resume", "out", "as_json", "loggers"}


def _hold_out(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if value in ("all", "none") or (value.isascii() and value.isdigit()):
        return value
    raise click.BadParameter(f"{value!r} is none of 'all', 'none' and a whole number")


@click.command("run")
@click.option("--method", default="multilatent", show_default=True, help="How to invert.")
@click.option("--generator", default="minihead", show_default=True, help="What to invert into.")
@click.option(
    "--weights",
    type=PATH,
    help="Of the generator, where none are embedded: a file, or a name of '3dinv weights list'.",
)
@click.option(
    "--input",
    type=CAPTURE,
    default="sample:dynamic",
    show_default=True,
    help="Folder or zip with images and dataset.json, transforms.json or COLMAP's sparse/0; a "
    "video or photograph, which is prepared first; sample:dynamic, sample:static.",
)
@click.option(
    "--camera",
    metavar="auto[:ESTIMATOR]",
    help="Let an estimator tell the cameras of a capture that has none.",
)
@click.option(
    "--undistort", is_flag=True, help="Take the lens distortion that cameras name out of pictures."
)
@click.option(
    "--views",
    type=click.IntRange(min=1),
    help="How many views are chosen [default: the method's, 9 or 1].",
)
@click.option(
    "--select",
    type=click.Choice(["angle", "index", "all"]),
    default="angle",
    show_default=True,
    help="How they're chosen: evenly by angle, evenly by file order, or all.",
)
@click.option(
    "--hold-out",
    metavar="all|none|N",
    callback=_hold_out,
    default="all",
    show_default=True,
    help="How many of the other views are measured.",
)
@metric_option
@click.option(
    "-o",
    "--out",
    type=PATH,
    help="Directory [default: runs/METHOD-TIME].",
)
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[DIR]",
    help="Go on with a run; without DIR, with the latest unfinished one.",
)
@click.option(
    "--init",
    type=PATH,
    metavar="DIR|METHOD",
    help="Start from the result of a run, or of an encoder: e4e, or the directory of a training.",
)
@click.option("--preset", help="Named set of the method's options, see '3dinv info METHOD'.")
@click.option(
    "--generator-preset", help="Named set of the generator's options, see '3dinv info GENERATOR'."
)
@click.option("--config", type=PATH, help="TOML file of options, over the preset.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the method (latent.steps=200), of the generator (generator.x=1) or a loss "
    "(losses.mse=2), over all else.",
)
@click.option(
    "--seed", type=int, callback=seed, default=303, show_default=True, help="Of all random numbers."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
    help="Of the generator's convolutions; fp32, the default, is exact.",
)
@click.option(
    "--no-winograd",
    is_flag=True,
    help="Convolve directly everywhere: slower, and a little more exact.",
)
@click.option(
    "--view-chunk", type=click.IntRange(min=1), help="Views rendered at a time; less memory."
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Steps between checkpoints.",
)
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    metavar="NAME[?OPTION=VALUE]",
    help="Log the run with tensorboard, wandb, trackio or what a plugin offers, such as "
    "wandb?project=heads; wandb stays offline unless mode=online is said.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-report", is_flag=True, help="Skip pictures, video and mesh.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Invert a capture: views of a head in, a 3D head out.

    Options of methods come from the preset, then from --config, then from --set; the later wins.
    Ctrl-C stops after the current step; --resume goes on to the same result.
    """
    if options["resume"] is not None:
        directory, metrics, said = _resume(ctx, options)
    else:
        directory, metrics = _start(options)
        said = directory.record["warnings"]
    if options["as_json"]:
        print_json({"directory": str(directory.path), "run": directory.record, "metrics": metrics})
        return
    try:
        _show(directory, metrics, said)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read the table has left; the run is finished all the same
        click.echo(f"everything is in {directory.path}", err=True)
        raise


def _start(options: Mapping[str, Any]) -> tuple[RunDirectory, dict[str, Any]]:
    # a misspelt name or option is answered before torch is imported
    registry().record("methods", options["method"])
    registry().record("generators", options["generator"])
    given = given_options(options)

    from inv3d.runs.options import check_options

    check_options(options["method"], options["generator"], given)
    options = _prepared(options, given)
    request = request_of(options, given)

    from inv3d.runs.display import open_display
    from inv3d.runs.execute import start
    from inv3d.runs.prepare import prepare
    from inv3d.runs.process import settle_process

    settle_process()
    prepared = prepare(request)
    out = options["out"] or _default_out(request.method)
    with open_display() as display:
        return start(
            prepared,
            out,
            display,
            overwrite=options["overwrite"],
            command=["3dinv", *sys.argv[1:]],
            loggers=options["loggers"],
        )


def _prepared(options: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make a capture of a video, or of pictures whose method needs cameras, beside the run."""
    from inv3d.commands.prepare import prepare_for_run
    from inv3d.photos.raw import is_raw

    if not is_raw(options["input"], options["method"], options["camera"]):
        return options
    out = options["out"] or _default_out(options["method"])
    capture = prepare_for_run(options, given.get("generator", {}), out)
    return {**options, "out": out, "input": str(capture)}


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of method and generator from --config, flags and --set."""
    from inv3d.core.config import merge, parse_overrides, read_config_file

    given = read_config_file(options["config"]) if options["config"] else {}
    settings = parse_overrides(options["settings"])
    if options["precision"]:
        settings = merge({"generator": {"precision": options["precision"]}}, settings)
    if options["no_winograd"]:
        settings = merge({"generator": {"winograd": False}}, settings)
    return merge(given, settings)


def request_of(options: Mapping[str, Any], given: Mapping[str, Any]) -> Request:
    """Return what the options of a command line ask for.

    Args:
        options: of the command.
        given: as `given_options` returns them.
    """
    from inv3d.runs.prepare import Request

    return Request(
        method=options["method"],
        generator=options["generator"],
        input=options["input"],
        undistort=options["undistort"],
        camera=options["camera"],
        options=given,
        preset=options["preset"],
        generator_preset=options["generator_preset"],
        weights=options["weights"],
        views=options["views"],
        selection=options["select"],
        hold_out=options["hold_out"],
        metrics=options["metrics"],
        seed=options["seed"],
        device=options["device"],
        view_chunk=options["view_chunk"],
        checkpoint_every=options["checkpoint_every"],
        init=options["init"],
        pictures=not options["no_report"],
    )


def _default_out(method: str) -> Path:
    name = f"{method}-{datetime.now():%Y%m%d-%H%M%S}"
    names = [name, *(f"{name}-{i}" for i in range(2, 100))]
    return next(RUNS / candidate for candidate in names if not (RUNS / candidate).exists())


def _resume(
    ctx: click.Context, options: Mapping[str, Any]
) -> tuple[RunDirectory, dict[str, Any], list[str]]:
    """Go on with a run; also return the warnings that were shown on the way."""
    for name, option in options_given(ctx).items():
        if name not in _WITH_RESUME:
            raise ConfigError(
                f"{option} can't be given with --resume, which takes everything from "
                f"the run's {RECORD}; leave it out"
            )
    if options["resume"] and options["out"]:
        raise ConfigError("-o can't be given with --resume DIR, which names the run; leave one out")
    from inv3d.rundir.directory import RunDirectory
    from inv3d.rundir.opening import check_result, read_metrics, way_on
    from inv3d.rundir.record import EDIT

    named = options["resume"] or options["out"]
    directory = RunDirectory.reopen(Path(named) if named else _latest())
    if EDIT in directory.record and not directory.is_finished:
        way = way_on(directory.record, directory.path)
        raise RunError(f"{directory.path}: an edited run, which has no steps to go on with; {way}")

    from inv3d.runs.display import open_display
    from inv3d.runs.execute import resume
    from inv3d.runs.process import settle_process

    if directory.is_finished:
        check_result(directory.record, directory.path)
        directory.drop_checkpoint()
        click.echo(f"{directory.path}: finished already", err=True)
        return directory, read_metrics(directory.path), []
    settle_process()
    before = directory.record["warnings"]
    with open_display() as display:
        metrics = resume(directory, display, options["loggers"])
    said = [warning for warning in directory.record["warnings"] if warning not in before]
    return directory, metrics, said


def _latest() -> Path:
    """Return the run in `runs/` that was begun last of those that have steps left."""
    from inv3d.rundir.opening import read_record
    from inv3d.rundir.record import EDIT

    found = []
    for path in RUNS.glob(f"*/{RECORD}"):
        try:
            record = read_record(path.parent)
        except RunError:  # of no use, and no reason to leave the others
            continue
        if record.get("status") != "finished" and EDIT not in record:
            found.append((record.get("started", ""), path.parent))
    if not found:
        raise RunError(f"no unfinished run in {RUNS}/; name one with --resume DIR")
    return max(found)[1]


def _show(directory: RunDirectory, metrics: Mapping[str, Any], said: Sequence[str]) -> None:
    """Print what a user wants to know first, and the warnings that weren't said yet."""
    from inv3d.report.tables import duration, metric_labels, metric_rows

    print_numbers("frames", metric_labels(metrics), metric_rows(metrics))
    for warning in (w for w in metrics["warnings"] if w not in said):
        click.echo(f"  warning: {warning}")
    spent = duration(sum(metrics["seconds"].values()))
    click.echo(f"\n  {spent}, everything is in {directory.path}")
    click.echo(f"  report: {directory.path / REPORT}")
