"""`3dinv batch`: invert many captures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.numbers import finite
from inv3d.commands.paths import PATH
from inv3d.commands.run import command as run
from inv3d.commands.run import given_options, request_of
from inv3d.core.errors import RunError
from inv3d.core.registry.discovery import registry

if TYPE_CHECKING:
    from inv3d.batch.run import Outcome

# of 3dinv run: what a batch says itself, or has no use for
_ROUNDING = 1e-6
_OF_ONE = {"input", "out", "resume", "overwrite", "as_json"}


def _fail(ctx: click.Context, parameter: click.Parameter, value: str) -> float:
    """Return the share of items that may fail; 1 where all may."""
    if value in ("any", "none"):
        return {"any": 0.0, "none": 1.0}[value]
    try:
        share = float(value.removesuffix("%")) / 100 if value.endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{value!r} is none of 'any', 'none' and a number with %")
    return share


@click.command("batch")
@click.argument("captures", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="Directory of the batch.")
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="NAME[?OPTION=VALUE]",
    help="Where items are worked on: local (processes of this machine), ray, such as "
    "ray?address=auto, ray-data (for encoders), here (in this process), or what a plugin offers.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="How many [default: one a GPU, else by cores and memory].",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Of each worker on the CPU [default: cores by workers].",
)
@click.option(
    "--at-once",
    type=click.IntRange(min=1),
    metavar="N",
    help="Items that a method without steps, such as e4e, inverts together where memory allows "
    "[default: 8 on a GPU, 1 on the CPU].",
)
@click.option(
    "--pack",
    type=click.IntRange(min=1),
    metavar="N",
    help="Items of a method with steps that a worker takes at the same time, computing as one what "
    "is alike in their steps [default: 1].",
)
@click.option(
    "--item-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    callback=finite,
    help="After which an item is given up.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Further tries where memory or disk ran out, or a worker was lost.",
)
@click.option(
    "--fail",
    "may_fail",
    default="any",
    show_default=True,
    metavar="any|none|N%",
    callback=_fail,
    help="End with exit code 1 where any item failed, never, or where more than N% did.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Make again what was made with other options or of other files, or failed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what happens as JSON, one line each.")
def command(
    captures: Path,
    out: Path,
    executor: str,
    workers: int | None,
    threads: int | None,
    at_once: int | None,
    pack: int | None,
    item_timeout: float | None,
    retries: int,
    may_fail: float,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Invert all of CAPTURES: a folder or zip of captures, pictures and clips, or a list of paths.

    Each item becomes a run in OUT/runs. The same command again leaves out what is done and goes on
    with what was stopped or killed. Ctrl-C stops after the current steps.
    """
    # a misspelt name or option is answered before torch is imported
    registry().record("methods", options["method"])
    registry().record("generators", options["generator"])
    given = given_options(options)

    from inv3d.runs.options import check_options

    check_options(options["method"], options["generator"], given)

    from inv3d.batch.driver import Policy
    from inv3d.batch.monitor import open_monitor
    from inv3d.batch.run import BatchRequest, run_batch

    batch = BatchRequest(
        captures,
        out,
        request_of({**options, "input": ""}, given),
        executor,
        workers,
        threads,
        at_once,
        pack,
        Policy(retries, timeout=item_timeout),
        overwrite,
        options["loggers"],
        ["3dinv", *sys.argv[1:]],
    )
    outcome = run_batch(batch, open_monitor(as_json))
    _conclude(outcome, out, may_fail, as_json)


command.params += [parameter for parameter in run.params if parameter.name not in _OF_ONE]


def _conclude(outcome: Outcome, out: Path, may_fail: float, as_json: bool) -> None:
    """Say how it ended.

    Raises:
        RunError: where more items failed than may.
    """
    from inv3d.rundir.batch import ROWS, SUMMARY

    before = outcome.found.get("done", 0)
    if not as_json:
        said = f"{before + outcome.done} of {outcome.total} items done"
        click.echo(f"{said} ({before} before), {outcome.failed} failed")
        click.echo(f"  everything is in {out}\n  summary: {out / SUMMARY}")
    # a share such as 29 % of 100 is a little less than 29 in binary
    if outcome.failed > may_fail * outcome.total + _ROUNDING:
        raise RunError(
            f"{outcome.failed} of {outcome.total} items failed; {out / SUMMARY} and "
            f"{out / ROWS} say why, the same command tries them again"
        )
