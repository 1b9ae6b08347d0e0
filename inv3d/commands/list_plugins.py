"""`3dinv list-plugins`: every plugin that was found, with what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from inv3d.commands.kinds import kind_option
from inv3d.commands.output import print_json, print_table
from inv3d.core.errors import PluginError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import UNKNOWN, PluginRecord, singular


@click.command("list-plugins")
@kind_option("Show one kind only")
@click.option("--check", is_flag=True, help="Import the built-in plugins too (takes seconds).")
@click.option("--no-check", is_flag=True, help="Read metadata only, import no plugin at all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(kind: str | None, check: bool, no_check: bool, as_json: bool) -> None:
    """List every plugin and its state.

    Plugins of other packages are imported in a separate process, so that one that is broken
    becomes a row with the reason; where its kind can't be told, it's a row with every --kind.
    Built-in plugins are imported with --check only. With INV3D_STRICT=1 a plugin that can't be
    used is an error.
    """
    records = [r for r in registry().records if kind in (None, r.kind) or r.kind == UNKNOWN]
    if not no_check:
        from inv3d.core.registry.probe import probe_plugins

        records = probe_plugins(records, own=check)
    records.sort(key=lambda r: (r.kind, r.name, r.distribution))
    if os.environ.get("INV3D_STRICT") == "1":
        _refuse_broken(records)
    if as_json:
        print_json([asdict(record) for record in records])
    else:
        columns = ("kind", "name", "status", "from", "summary or reason")
        print_table(columns, [_row(record) for record in records])


def _row(record: PluginRecord) -> tuple[str, ...]:
    return (
        singular(record.kind),
        record.name,
        record.status,
        f"{record.distribution} {record.version}".strip(),
        record.reason or record.summary,
    )


def _refuse_broken(records: list[PluginRecord]) -> None:
    for record in records:
        if record.status in ("broken", "duplicate"):
            raise PluginError(
                f"{singular(record.kind)} '{record.name}' of {record.distribution}: {record.reason}"
            )
