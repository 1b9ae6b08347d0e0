"""`3dinv train`: train a plugin's networks for a generator."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.given import options_given
from inv3d.commands.numbers import seed
from inv3d.commands.output import print_json, print_numbers
from inv3d.commands.paths import PATH
from inv3d.core.errors import ConfigError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import TRAINED_KINDS

if TYPE_CHECKING:
    from inv3d.train.store import TrainingDirectory

# what may be said again when a training goes on; everything else is in its train.json
_WITH_RESUME = {"resume", "settings", "loggers", "as_json"}


@click.command("train")
@click.argument("plugin", required=False)
@click.option("--generator", default="minihead", show_default=True, help="What to train for.")
@click.option(
    "--weights",
    type=PATH,
    help="Of the generator, where none are embedded: a file, or a name of '3dinv weights list'.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="PATH|generated[=WEIGHT]",
    help="Folder or zip of pictures with dataset.json, or what the generator makes; several are "
    "mixed by weight [default: generated].",
)
@click.option("-o", "--out", type=PATH, help="Directory [default: PLUGIN-GENERATOR].")
@click.option("--overwrite", is_flag=True, help="Replace a training that is there.")
@click.option("--resume", type=PATH, help="Go on with a training.")
@click.option("--preset", help="Named set of the plugin's options, see '3dinv info PLUGIN'.")
@click.option(
    "--generator-preset", help="Named set of the generator's options, see '3dinv info GENERATOR'."
)
@click.option("--config", type=PATH, help="TOML file of options, over the preset.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the training (training.steps=2000), of the plugin, or of the generator "
    "(generator.x=1), over all else.",
)
@click.option(
    "--seed", type=int, callback=seed, default=1, show_default=True, help="Of all random numbers."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Steps between checkpoints.",
)
@click.option(
    "--evaluate-every",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Steps between evaluations on held-out pictures.",
)
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    metavar="NAME[?OPTION=VALUE]",
    help="Also log to tensorboard, wandb or trackio, or what a plugin offers; repeat.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Train a method's or an estimator's networks for a generator.

    Pictures come from the generator itself unless --data names others. Ctrl-C stops after the
    current step; --resume goes on to the same weights. Several processes train together where
    torchrun starts them: torchrun --nproc-per-node 2 -m inv3d train ...
    """
    if options["resume"] is not None:
        directory = _resume(ctx, options)
    else:
        directory = _start(options)
    if directory is None:
        return
    if options["as_json"]:
        print_json({"directory": str(directory.path), "training": directory.record})
        return
    _show(directory)


def _start(options: Mapping[str, Any]) -> TrainingDirectory | None:
    if options["plugin"] is None:
        raise ConfigError("name what to train, such as '3dinv train e4e', or give --resume DIR")
    _check_names(options["plugin"], options["generator"])

    from inv3d.core.config import merge, parse_overrides, read_config_file

    given = read_config_file(options["config"]) if options["config"] else {}
    given = merge(given, parse_overrides(options["settings"]))

    from inv3d.train.execute import start_training
    from inv3d.train.prepare import TrainRequest
    from inv3d.train.sources import GENERATED

    request = TrainRequest(
        plugin=options["plugin"],
        generator=options["generator"],
        data=options["data"] or (GENERATED,),
        options=given,
        preset=options["preset"],
        generator_preset=options["generator_preset"],
        weights=options["weights"],
        seed=options["seed"],
        device=options["device"],
        checkpoint_every=options["checkpoint_every"],
        evaluate_every=options["evaluate_every"],
    )
    out = options["out"] or Path(f"{options['plugin']}-{options['generator']}")
    with _display() as display:
        directory = start_training(
            request,
            out,
            display,
            overwrite=options["overwrite"],
            command=["3dinv", *sys.argv[1:]],
            loggers=options["loggers"],
        )
    return directory if _leads() else None


def _check_names(plugin: str, generator: str) -> None:
    """Refuse misspelt names before torch is imported."""
    registry().record("generators", generator)
    known = [record.name for kind in TRAINED_KINDS for record in registry().of_kind(kind)]
    if plugin not in known:
        from inv3d.train.prepare import find_trainable

        find_trainable(plugin)  # says what could be trained


def _resume(ctx: click.Context, options: Mapping[str, Any]) -> TrainingDirectory | None:
    for name, option in options_given(ctx).items():
        if name not in _WITH_RESUME:
            raise ConfigError(
                f"{option} can't be given with --resume, which takes everything from "
                "the training's train.json; leave it out"
            )
    from inv3d.core.config import parse_overrides
    from inv3d.train.execute import resume_training

    changes = parse_overrides(options["settings"])
    training = changes.pop("training", {})
    if not isinstance(training, Mapping):
        raise ConfigError(
            f"--set training={training}: is a group of options; give one of them "
            "(--set training.NAME=VALUE)"
        )
    if changes:
        raise ConfigError(
            f"--set {next(iter(changes))}: only options of the training can change on the way "
            "(--set training.NAME=VALUE); start a new one for others"
        )
    with _display() as display:
        directory = resume_training(options["resume"], display, training, options["loggers"])
    return directory if _leads() else None


def _leads() -> bool:
    """Whether this process shows what happens, among those that train together."""
    return os.environ.get("RANK", "0") == "0"


def _display() -> contextlib.AbstractContextManager[Any]:
    from inv3d.runs.display import Told, open_display
    from inv3d.runs.process import settle_process

    settle_process()
    return open_display() if _leads() else Told(lambda step: None)


def _show(directory: TrainingDirectory) -> None:
    """Print the evaluations and where everything is."""
    from inv3d.train.store import PAGE

    rows = directory.record["evaluations"]
    names = list(dict.fromkeys(name for row in rows for name in row["values"]))
    cells = [[_number(row["values"].get(name)) for name in names] for row in rows]
    numbers = [(str(row["step"]), texts) for row, texts in zip(rows, cells, strict=True)]
    print_numbers("steps", names, numbers)
    click.echo(f"\n  everything is in {directory.path}, the page is {directory.path / PAGE}")
    plugin = directory.record["plugin"]
    if plugin["kind"] == "methods":
        generator = directory.record["generator"]["name"]
        click.echo(
            f"  use it: 3dinv run --method {plugin['name']} --generator {generator} "
            f"--set weights={directory.path}"
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
