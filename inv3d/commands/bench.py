"""`3dinv bench`: how fast the stages of a step are, beside a plain reference implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.numbers import seed
from inv3d.commands.output import print_json, print_numbers
from inv3d.commands.paths import CAPTURE, PATH
from inv3d.core.errors import RunError, UsageError

if TYPE_CHECKING:
    import torch

    from inv3d.bench.cases import Choice
    from inv3d.bench.results import Item, Report

_STAGES = ("backbone", "render", "superres", "step")
_METHODS = "methods"
_RUNS = ("multiview", "multilatent")
_PLOTS = (".png", ".svg", ".pdf")
_ONLY_METHODS = {"runs": "--run", "capture": "--input", "seed": "--seed"}
_ONLY_STAGES = {
    **{"rays": "--rays", "repeats": "--repeats", "losses": "--losses", "profile": "--profile"},
    **{"upsampling": "--upsampling", "memory": "--memory", "exact": "--exact"},
}


def _parse_views(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    """Read "1,3,9"."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise click.BadParameter(f"{text!r} isn't a number from 1, or a list such as 1,3,9")
    return tuple(sorted({int(part) for part in parts}))


@click.command("bench")
@click.argument(
    "what", type=click.Choice([*_STAGES, _METHODS]), required=False, metavar="[STAGE|methods]"
)
@click.option(
    "--size",
    type=click.Choice(["full", "half", "mini"]),
    default="mini",
    show_default=True,
    help="full: EG3D at 512 pixels; half: at 256 with half the channels, both with random "
    "weights; mini: an embedded generator.",
)
@click.option(
    "--generator", default="minihead", show_default=True, help="The embedded one of --size mini."
)
@click.option(
    "--views",
    metavar="N[,N...]",
    callback=_parse_views,
    default="9",
    show_default=True,
    help="Views of a step, or of an inversion.",
)
@click.option(
    "--rays",
    type=click.IntRange(min=1),
    help="Rays a side.  [default: 32; of an embedded generator: its own]",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    help="Views that our way renders at a time.  [default: 3; mini: all]",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How often each way is timed, in turns.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: PyTorch's]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the generator's convolutions; tf32 holds for the reference too.",
)
@click.option(
    "--losses",
    metavar="NAME[,NAME...]",
    help="Losses of a step, each with weight 1.  [default: mse,l1; mini: the generator's]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the generator, over all else.",
)
@click.option(
    "--upsampling",
    type=click.Choice(["transposed", "zeros"]),
    default="transposed",
    show_default=True,
    help="Of the reference: a transposed convolution, then the filter; or zeros inserted, "
    "filtered, and convolved at the doubled resolution.",
)
@click.option(
    "--memory/--no-memory", default=True, show_default=True, help="Measure peak memory too."
)
@click.option(
    "--exact/--no-exact",
    default=True,
    show_default=True,
    help="Compare every gradient in double precision too.",
)
@click.option(
    "--cpu-time", is_flag=True, help="Make ratios from the process's CPU seconds, on shared CPUs."
)
@click.option("--profile", is_flag=True, help="Also list what a step spends its time on.")
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="METHOD[:PRESET]",
    help="For methods: an inversion; options behind it in the same word, as 'multiview:paper "
    f"latent.steps=20'.  [default: {' and '.join(_RUNS)}]",
)
@click.option(
    "--input",
    "capture",
    type=CAPTURE,
    default="sample:dynamic",
    show_default=True,
    help="For methods: the capture, as of '3dinv run'.",
)
@click.option(
    "--seed",
    type=int,
    callback=seed,
    default=303,
    show_default=True,
    help="For methods: of random numbers.",
)
@click.option("--table", is_flag=True, help="Print Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-o", "--out", type=PATH, help="Write the JSON to a file too.")
@click.option("--plot", type=PATH, help="Draw bars into a .png, .svg or .pdf too.")
@click.pass_context
def command(ctx: click.Context, /, what: str | None, **options: Any) -> None:
    """Measure this machine: the stages of a step, beside a plain reference implementation.

    STAGE is backbone (latent to planes), render (planes to features and depth), superres (features
    to pictures) or step (a whole step of the optimiser); all of them without it. Both ways take
    turns on the same numbers in one run, and their outputs and gradients are compared: the exit
    code is 1 where they differ.

    methods inverts a capture by several methods and presets instead, and shows the time that each
    takes beside the quality that it reaches on frames that it never saw.
    """
    _check(ctx, what, options)
    from inv3d.core.device import resolve_device
    from inv3d.runs.process import settle_process

    device = resolve_device(options["device"])
    if options["cpu_time"] and device.type != "cpu":
        raise UsageError(f"--cpu-time: {device} isn't a CPU; leave it out, or take --device cpu")
    settle_process()
    report = _measure(what, options, device)
    try:
        _write(report, options)
    finally:
        # what took minutes to measure is shown, whatever is wrong with the files
        _show(report, options)
    if not report.ok:
        raise RunError(
            f"ours and the reference differ: {'; '.join(report.differing())}; see the errors in "
            "the table, and report it with the output of --json"
        )


def _check(ctx: click.Context, what: str | None, options: Mapping[str, Any]) -> None:
    """Refuse what doesn't go together before torch is imported."""
    if options["as_json"] and options["table"]:
        raise UsageError("give one of --json and --table")
    plot = options["plot"]
    if plot is not None and plot.suffix.lower() not in _PLOTS:
        raise UsageError(f"--plot {plot}: expected a name that ends in {', '.join(_PLOTS)}")
    default = click.core.ParameterSource.DEFAULT
    for name, spelling in (_ONLY_STAGES if what == _METHODS else _ONLY_METHODS).items():
        if ctx.get_parameter_source(name) is not default:
            place = "for stages, not for" if what == _METHODS else "for"
            raise UsageError(f"{spelling} is {place} '3dinv bench methods'; leave it out")
    if what != _METHODS:
        if options["profile"] and what not in (None, "step"):
            raise UsageError(f"--profile is for step, not for {what}; leave it out")
        return
    if options["size"] != "mini":
        raise UsageError(
            f"--size {options['size']}: its weights are random, so that methods can't reach "
            "anything with it; take --size mini"
        )
    if len(options["views"]) > 1:
        raise UsageError("--views: methods are compared with one number of views; give one")


def _measure(what: str | None, options: Mapping[str, Any], device: torch.device) -> Report:
    import torch

    from inv3d.bench.measure import Plan
    from inv3d.bench.run import run_methods, run_stages

    stages = _STAGES if what is None else (what,) if what != _METHODS else ()
    plan = Plan(
        stages,  # type: ignore[arg-type]
        options["views"],
        options["repeats"],
        "cpu" if options["cpu_time"] else "wall",
        options["precision"],
        options["memory"],
        options["exact"],
        options["profile"],
        options["upsampling"],
    )
    choice = _choice(options)
    threads = torch.get_num_threads()
    torch.set_num_threads(options["threads"] or threads)
    try:
        if what == _METHODS:
            return run_methods(_entries(options, choice), plan, choice, device, _tell)
        return run_stages(what or "all", choice, plan, device, _tell)
    finally:
        torch.set_num_threads(threads)


def _choice(options: Mapping[str, Any]) -> Choice:
    from inv3d.bench.cases import Choice
    from inv3d.core.config import merge, parse_overrides

    losses = tuple(filter(None, (options["losses"] or "").split(",")))
    if options["losses"] is not None and not losses:
        raise UsageError("--losses: no name in it; give some, such as mse,l1")
    # of single precision every generator is capable, with or without an option
    precision = {} if options["precision"] == "fp32" else {"precision": options["precision"]}
    return Choice(
        options["size"],
        options["generator"],
        options["rays"],
        losses,
        options["chunk"],
        merge(precision, parse_overrides(options["settings"])),
    )


def _entries(options: Mapping[str, Any], choice: Choice) -> list[Any]:
    from inv3d.bench.methods import read_entry
    from inv3d.runs.prepare import Request

    common = Request(
        method="",
        generator=choice.generator,
        input=options["capture"],
        options={"generator": dict(choice.options or {})},
        views=options["views"][0],
        seed=options["seed"],
        device=options["device"],
        view_chunk=choice.chunk,
    )
    return [read_entry(text, common) for text in options["runs"] or _RUNS]


def _tell(item: Item) -> None:
    from inv3d.bench.tables import line

    click.echo(line(item), err=True)


def _write(report: Report, options: Mapping[str, Any]) -> None:
    from inv3d.bench.plot import write_plot
    from inv3d.core.files import write_json

    if options["out"] is not None:
        write_json(options["out"], asdict(report))
    if options["plot"] is not None:
        write_plot(options["plot"], report)


def _show(report: Report, options: Mapping[str, Any]) -> None:
    from inv3d.bench.tables import headline, markdown, tables
    from inv3d.core.files import finite

    if options["as_json"]:
        print_json(finite(asdict(report)))
        return
    if options["table"]:
        click.echo(markdown(report), nl=False)
        return
    for text in headline(report):
        click.echo(text)
    for table in tables(report):
        click.echo()
        rows = [(first, numbers) for first, *numbers in table.rows]
        print_numbers(table.columns[0], table.columns[1:], rows, table.title)
