"""`3dinv validate PLUGIN`: every check that plugins of its kind are held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from inv3d.commands.kinds import kind_option
from inv3d.commands.output import print_json, print_table
from inv3d.commands.paths import PATH
from inv3d.core.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from rich.text import Text

    from inv3d.testing.results import Result

_STYLES = {"passed": "green", "failed": "red", "unexpected": "red"}


@click.command("validate")
@click.argument("plugin")
@kind_option("Where plugins of several kinds share the name")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the plugin, where its defaults don't suit a test.",
)
@click.option(
    "--edit",
    "edits",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the edit that an editor is tried with.",
)
@click.option("--weights", type=PATH, help="Of the plugin, if it reads any.")
@click.option(
    "--generator",
    help="That methods, editors and estimators are tried with  [default: one with known answers].",
)
@click.option(
    "--expect-failure",
    "expected",
    multiple=True,
    metavar="CHECK=REASON",
    help="A check that fails and may; that it passes is a failure then.",
)
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("-o", "--out", type=PATH, help="Also write the results as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    plugin: str,
    kind: str | None,
    settings: tuple[str, ...],
    edits: tuple[str, ...],
    weights: Path | None,
    generator: str | None,
    expected: tuple[str, ...],
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Check that a plugin does what plugins of its kind promise.

    Shapes, ranges, invariances, seeds, gradients, options, errors: each check is a line, and the
    exit code is 2 where one failed.
    """
    from inv3d.core.config import parse_overrides
    from inv3d.core.device import resolve_device
    from inv3d.testing.conformance import check_plugin

    report = check_plugin(
        plugin,
        kind,
        options=parse_overrides(settings),
        edit=parse_overrides(edits),
        weights=weights,
        generator=generator,
        expected_failures=dict(map(_reason, expected)),
        device=resolve_device(device),
    )
    if out is not None:
        report.write(out)
    if as_json:
        print_json(report.as_json())
    else:
        print_table(("check", "result"), map(_row, report.results), whole=("check",))
        click.echo(f"\n{report.headline()}")
    if not report.ok:
        raise PluginError(f"{report.headline()}; the first: {report.bad[0].name}")


def _reason(text: str) -> tuple[str, str]:
    name, sign, reason = text.partition("=")
    if not sign or not reason.strip():
        raise ConfigError(f"--expect-failure {text!r}: expected CHECK=REASON")
    return name.strip(), reason.strip()


def _row(result: Result) -> tuple[str | Text, ...]:
    from rich.text import Text

    said = f"{result.status}: {result.said}" if result.said else result.status
    return result.name, Text(said, style=_STYLES.get(result.status, ""))
