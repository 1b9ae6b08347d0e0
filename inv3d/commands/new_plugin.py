"""`3dinv new-plugin NAME --kind KIND`: a package to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from inv3d.commands.kinds import kind_option
from inv3d.commands.output import print_json
from inv3d.commands.paths import PATH
from inv3d.core.errors import UsageError


@click.command("new-plugin")
@click.argument("name")
@kind_option("Of the plugin")
@click.option("-o", "--out", type=PATH, help="Folder to make  [default: NAME].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, kind: str | None, out: Path | None, as_json: bool) -> None:
    """Write a package with a plugin of your own: small, complete, with tests that it passes.

    Install it with 'pip install -e FOLDER', and the plugin is there; then change what it does.
    """
    from inv3d.scaffold.package import commands, write_package

    if kind is None:
        raise UsageError("--kind is missing: say what the plugin is, such as --kind method")
    folder = out or Path(name)
    files = write_package(name, kind, folder)
    if as_json:
        print_json({"folder": str(folder), "files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(file)
    place = folder if folder.is_absolute() else f"./{folder}"
    click.echo(f"\npip install -e '{place}[test]'\npytest {place}\n{commands(name, kind)}")
