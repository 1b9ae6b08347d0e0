"""`3dinv editor`: directions of editors: find them, take those of others, show them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.numbers import seed
from inv3d.commands.output import print_json, print_numbers, print_table
from inv3d.commands.paths import PATH
from inv3d.core.errors import UsageError
from inv3d.core.registry.discovery import registry

if TYPE_CHECKING:
    from inv3d.core.editor import Directions
    from inv3d.core.generator import Generator


def _generator_options(function: Any) -> Any:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1."
        ),
        click.option(
            "--weights",
            type=PATH,
            help="Of the generator: a file, or a name of '3dinv weights list'.",
        ),
        click.option(
            "--generator",
            "generator_name",
            default="minihead",
            show_default=True,
            help="For which.",
        ),
    ):
        function = option(function)
    return function


_OUT = click.option(
    "-o",
    "--out",
    type=PATH,
    help="File of directions.  [default: where later edits find it, among the weight files]",
)
_SEED = click.option(
    "--seed", type=int, callback=seed, default=303, show_default=True, help="Of all random numbers."
)


@click.group("editor")
def command() -> None:
    """Find the directions of editors for a generator, take those of others, show them.

    They are kept with the fingerprint of the generator, and used for no other one.
    """


@command.command("fit")
@click.argument("name")
@_generator_options
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the editor (samples=10000), or of the generator (generator.x=1).",
)
@_SEED
@_OUT
def fit(
    name: str,
    generator_name: str,
    weights: Path | None,
    settings: tuple[str, ...],
    seed: int,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Find the directions of the editor NAME for a generator."""
    registry().record("editors", name)
    registry().record("generators", generator_name)

    from inv3d.core.config import parse_overrides

    options = parse_overrides(settings)
    of_generator = options.pop("generator", {})

    from inv3d.core.editor import load_editor
    from inv3d.runs.directions import fit_directions

    editor = load_editor(name, options)
    generator = _generator(generator_name, of_generator, weights, device)
    from inv3d.runs.display import open_display

    with open_display() as display:
        found, path = fit_directions(editor, generator, seed=seed, out=out, on_step=display.step)
    _say(found, path, as_json)


@command.command("import")
@click.argument("name")
@click.argument("source", type=PATH)
@_generator_options
@_SEED
@_OUT
def take(
    name: str,
    source: Path,
    generator_name: str,
    weights: Path | None,
    seed: int,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Take the directions SOURCE of another project for the editor NAME.

    For ganspace an .npz of eg3d-1 or GANSpace, a .pt of PTI or an .npy of Pose-Opt; for
    interfacegan one direction as .npy or .pt. Give the generator that they were made for.
    """
    registry().record("editors", name)
    registry().record("generators", generator_name)

    from inv3d.core.editor import load_editor
    from inv3d.runs.directions import take_directions

    editor = load_editor(name)
    generator = _generator(generator_name, {}, weights, device)
    found, path = take_directions(editor, source, generator, seed=seed, out=out)
    _say(found, path, as_json)


@command.command("show")
@click.argument("name")
@_generator_options
@click.option("--directions", type=PATH, help="File of directions.")
def show(
    name: str,
    generator_name: str,
    weights: Path | None,
    device: str,
    directions: Path | None,
    as_json: bool,
) -> None:
    """Show the named edits of the editor NAME for a generator."""
    registry().record("editors", name)

    from inv3d.core.editor import find_directions, load_editor

    editor = load_editor(name)
    generator = _generator(generator_name, {}, weights, device)
    found = find_directions(editor, generator, directions)
    if found is not None:
        _say(found, directions, as_json)
    elif as_json:
        print_json({"file": None, "editor": name, "generator": generator_name})
    else:
        click.echo(f"{name} needs no directions; its options: 3dinv info {name}")


@command.command("measure")
@click.argument("name")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--edit", "edits", multiple=True, metavar="NAME=STRENGTH", help="Named edit; repeat.",
    required=True,
)  # fmt: skip
@click.option("--directions", type=PATH, help="File of directions.")
@click.option(
    "--samples",
    type=click.IntRange(50),
    default=1500,
    show_default=True,
    help="Heads that reading attributes off pictures is learned from, once a generator.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def measure(
    name: str,
    runs: tuple[Path, ...],
    edits: tuple[str, ...],
    directions: Path | None,
    samples: int,
    device: str,
    as_json: bool,
) -> None:
    """Measure named edits of the editor NAME on finished RUNS.

    How far the attribute moves and how far all others do, read off pictures in standard deviations
    of the attribute, and how much of the identity is kept.
    """
    registry().record("editors", name)
    strengths = [named_strength(text) for text in edits]

    from inv3d.core.device import resolve_device
    from inv3d.runs.display import Lines
    from inv3d.runs.measure_edits import measure_edits

    rows = measure_edits(
        name, runs, strengths, directions=directions, samples=samples,
        device=resolve_device(device), say=Lines().say,
    )  # fmt: skip
    if as_json:
        print_json(rows)
        return
    numbers = [
        (
            f"{row['run']} {row['edit']} {row['strength']:+g}",
            [_text(row[key]) for key in ("moved", "others", "identity", "trust")],
        )
        for row in rows
    ]
    print_numbers("run, edit", ("moved", "others moved", "identity kept", "read right"), numbers)


def named_strength(text: str) -> tuple[str, float]:
    """Return name and strength of NAME=STRENGTH.

    Raises:
        UsageError: where it's something else.
    """
    name, _, value = text.partition("=")
    try:
        strength = float(value)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise UsageError(f"--edit {text}: expected NAME=STRENGTH, such as smile=1.5")
    return name.replace("-", "_"), strength


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _generator(name: str, options: dict[str, Any], weights: Path | None, device: str) -> Generator:
    from inv3d.core.device import resolve_device
    from inv3d.core.generator import load_generator

    return load_generator(name, options, weights, device=resolve_device(device))


def _say(found: Directions, path: Path | None, as_json: bool) -> None:
    facts = {
        "file": None if path is None else str(path),
        "editor": found.editor,
        "generator": found.generator,
        "fingerprint": found.fingerprint,
        "facts": dict(found.facts),
        "tensors": {name: list(tensor.shape) for name, tensor in found.tensors.items()},
    }
    if as_json:
        print_json(facts)
        return
    rows = [
        (f"--{name.replace('_', '-')}", ", ".join(f"{k} {v}" for k, v in options.items()))
        for name, options in found.names.items()
    ]
    if rows:
        print_table(("edit", "options at strength 1"), rows, whole=("edit",))
    click.echo(f"{found.editor} for {found.generator}, {found.fingerprint}")
    if path is not None:
        click.echo(f"directions: {path}")
