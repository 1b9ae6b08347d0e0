"""`3dinv convert`: networks and results of others, in our formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inv3d.commands.output import print_json, print_table
from inv3d.commands.paths import CAPTURE, PATH
from inv3d.core.errors import MismatchError, UsageError

if TYPE_CHECKING:
    from inv3d.convert.network import ConvertOptions

_PAGE = 40


@click.command("convert")
@click.argument("source", type=PATH)
@click.option("-o", "--out", type=PATH, help="The .safetensors file to write.")
@click.option(
    "--as-run",
    "as_run",
    metavar="DIR",
    type=PATH,
    help="Write a run directory instead, of a tuned generator or latents that others made.",
)
@click.option("--generator", help="Which generator it is for, instead of the guess.")
@click.option("--variant", help="Which variant it is, instead of the guess.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the generator, over what the file says, such as plane_axes=corrected.",
)
@click.option("--entry", help="Which network of the file.  [default: G_ema or the like]")
@click.option("--licence", help="Of the weights, to be kept with them.")
@click.option(
    "--weights",
    type=PATH,
    help="With --as-run: the network before it was tuned, or that the latents belong to.",
)
@click.option("--latent", type=PATH, help="With --as-run: latents, .npz, .npy or .pt.")
@click.option(
    "--cameras",
    type=PATH,
    help="With --as-run: the latents' cameras: 25 numbers each (.npz, .npy, .pt), or dataset.json.",
)
@click.option(
    "--input", "source_capture", type=CAPTURE, help="With --as-run: the capture, for 'eval'."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    source: Path,
    out: Path | None,
    as_run: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Convert the network or the result SOURCE of another project.

    A network: a pickle of EG3D or PanoHead as it is published, a .pt, .pth or .safetensors file. A
    result, with --as-run: the folder of such a project, a tuned generator, or latents. Nothing in
    the files is run; they are read as data, whatever they are called.
    """
    if (out is None) == (as_run is None):
        raise UsageError("give one of --out FILE.safetensors and --as-run DIR")
    only_runs = [name for name in ("weights", "latent", "cameras", "source_capture") if given[name]]
    if only_runs and as_run is None:
        name = only_runs[0].replace("source_capture", "input")
        raise UsageError(f"--{name} goes with --as-run only; leave it out")
    options = _options(settings, given)
    try:
        facts = _convert(source, out, options) if out else _as_run(source, as_run, options, given)
    except MismatchError as error:
        for line in _differences(error):
            click.echo(line, err=True)
        raise
    for notice in facts["warnings"]:
        click.echo(f"warning: {notice}", err=True)
    if as_json:
        print_json(facts)
    elif out:
        _show(source, facts)
    else:
        _show_run(facts)


def _options(settings: tuple[str, ...], given: Mapping[str, Any]) -> ConvertOptions:
    from inv3d.convert.network import ConvertOptions
    from inv3d.core.config import parse_overrides

    architecture = parse_overrides(settings)
    if "generator" in architecture:
        raise UsageError(
            "--set generator.NAME: here all options are the generator's; leave out 'generator.'"
        )
    variant = architecture.pop("variant", given["variant"])
    if given["variant"] not in (None, variant):
        raise UsageError(
            f"--variant {given['variant']}: --set says variant={variant}; leave one of them out"
        )
    return ConvertOptions(
        entry=given["entry"],
        generator=given["generator"],
        variant=variant if variant is None else str(variant),
        architecture=architecture,
        licence=given["licence"],
    )


def _convert(source: Path, out: Path, options: ConvertOptions) -> dict[str, Any]:
    from inv3d.convert.network import convert

    return convert(source, out, options)


def _as_run(
    source: Path, directory: Path | None, options: ConvertOptions, given: Mapping[str, Any]
) -> dict[str, Any]:
    from inv3d.convert.result import Foreign, import_run

    assert directory is not None
    foreign = Foreign(
        source, given["weights"], given["latent"], given["cameras"], given["source_capture"]
    )
    return import_run(foreign, directory, options)


def _differences(error: MismatchError) -> list[str]:
    """Name every tensor that doesn't fit, a line each."""
    lines = [f"missing: {name}" for name in error.missing]
    lines += [f"left over: {name}" for name in error.extra]
    lines += [
        f"other shape: {name} is {found}, expected {expected}"
        for name, (found, expected) in error.shapes.items()
    ]
    more = len(lines) - _PAGE
    return [*lines[:_PAGE], f"... and {more} more"] if more > 0 else lines


def _show(source: Path, facts: Mapping[str, Any]) -> None:
    origin, camera = facts["origin"], facts["camera"]
    told = "" if facts["sure"] else "a guess: "
    left = ", ".join(facts["left_out"]) or "nothing"
    pivot = ", ".join(f"{x:g}" for x in camera["pivot"])
    rows = [
        ("read", f"{origin['entry'] or 'one network'} {facts['class']}".strip()),
        ("generator", facts["generator"]),
        ("variant", f"{facts['variant']} ({told}{facts['because']})"),
        ("tensors", f"{facts['tensors']}, all in place; left out: {left}"),
        ("numbers", f"{facts['parameters']} parameters, {', '.join(facts['types'])}"),
        ("pictures", f"{facts['resolution']} px, {facts['render_resolution']} rays a side"),
        ("plane axes", facts["plane_axes"]),
        (
            "camera prior",
            f"radius {camera['radius']:g}, focal {camera['focal']:g}, pivot ({pivot}), "
            f"yaw ±{camera['yaw_deg']:g}, pitch ±{camera['pitch_deg']:g}",
        ),
        ("licence", facts["licence"]),
        ("SHA-256", origin["sha256"]),
        ("fingerprint", facts["fingerprint"]),
    ]
    print_table(("fact", "value"), rows, title=str(source))
    click.echo(f"\n{facts['out']}: written, and read back by generator {facts['generator']}")


def _show_run(facts: Mapping[str, Any]) -> None:
    latents = f"{facts['latents']} latent{'s' if facts['latents'] > 1 else ''}"
    rows = [
        ("latents", f"{latents} from {facts['latent']}"),
        ("cameras", facts["cameras"]),
        ("generator", f"{facts['generator']}, {facts['weights']}"),
        ("tuned", facts["tuned"]),
        ("capture", facts["input"] or "none"),
    ]
    print_table(("fact", "value"), rows, title=facts["directory"])
    click.echo(f"\n  3dinv render {facts['directory']} --out turn.mp4")
