"""`3dinv list-plugins`: every plugin that was found, with what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import get_args

import click

from inv3d.commands.kinds import kind_option
from inv3d.commands.output import print_json, print_table
from inv3d.core.errors import PluginError, UsageError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.known_plugins import missing_plugins
from inv3d.core.registry.record import UNKNOWN, PluginRecord, Status, singular

# seconds of an import, beyond PyTorch's own, that are worth a word
SLOW = 2.0


@click.command("list-plugins")
@kind_option("Show one kind only")
@click.option("--check", is_flag=True, help="Import the built-in plugins too (takes seconds).")
@click.option("--no-check", is_flag=True, help="Read metadata only, import no plugin at all.")
@click.option(
    "--times", is_flag=True, help="Import all of them, and show the seconds beyond PyTorch's own."
)
@click.option(
    "--no-third-party", is_flag=True, help="Show built-in plugins only, and import no other."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "requirements"]),
    default="table",
    show_default=True,
    help="requirements: what pip install -r takes to have the same plugins elsewhere.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    kind: str | None,
    check: bool,
    no_check: bool,
    times: bool,
    no_third_party: bool,
    form: str,
    as_json: bool,
) -> None:
    """List every plugin and its state.

    Plugins of other packages are imported in a separate process, so that one that is broken
    becomes a row with the reason; where its kind can't be told, it's a row with every --kind.
    Built-in plugins are imported with --check or --times only. With INV3D_STRICT=1 a plugin that
    can't be used is an error.
    """
    if no_check and (check or times):
        raise UsageError("--no-check imports nothing, so that there's nothing to check or to time")
    records = [r for r in registry().records if kind in (None, r.kind) or r.kind == UNKNOWN]
    if no_third_party:
        records = [r for r in records if r.own]
    if form == "requirements":
        for line in _requirements(records):
            click.echo(line)
        for owner in sorted({r.distribution for r in records if not (r.own or r.version)}):
            _aside(f"{owner} has no version that could be installed, and is left out")
        return
    if not no_check:
        from inv3d.core.registry.probe import probe_plugins

        records = probe_plugins(records, own=check or times, say=_aside)
    records.sort(key=lambda r: (r.kind, r.name, r.distribution))
    if os.environ.get("INV3D_STRICT") == "1":
        _refuse_broken(records)
    if as_json or form == "json":
        print_json([asdict(record) for record in records])
        return
    columns = ("kind", "name", "status", "from", *(("seconds",) if times else ()))
    rows = [_row(record, times) for record in records]
    print_table((*columns, "summary or reason"), rows, whole=("name", "status"))
    click.echo(f"\n{_count(records)}")
    missing = [known for known in missing_plugins(records) if kind in (None, known.kind)]
    if missing and not no_third_party:
        click.echo()
        print_table(
            ("not installed", "what it is, and how to get it"),
            [
                (f"{singular(known.kind)} {known.name}", f"{known.summary}\n{known.install}")
                for known in missing
            ],
        )


def _row(record: PluginRecord, times: bool) -> tuple[str, ...]:
    seconds = "" if record.seconds is None else f"{record.seconds:.2f}"
    return (
        singular(record.kind),
        record.name,
        record.status,
        f"{record.distribution} {record.version}".strip(),
        *((seconds,) if times else ()),
        "\n".join([record.reason or record.summary, *_complaints(record)]),
    )


def _count(records: list[PluginRecord]) -> str:
    """Return how many there are, and how many of each status."""
    found = Counter(record.status for record in records)
    parts = [f"{found[status]} {status}" for status in get_args(Status) if found[status]]
    return f"{len(records)} plugins: {', '.join(parts) or 'none'}"


def _complaints(record: PluginRecord) -> Iterator[str]:
    """Say what an import does that others would rather it didn't."""
    if record.own:
        return
    if record.prints:
        yield "(prints when it's imported)"
    if record.changes:
        yield f"(its import changes {' and '.join(record.changes)})"
    if record.seconds is not None and record.seconds >= SLOW:
        yield f"(its import takes {record.seconds:.1f} s)"


def _aside(text: str) -> None:
    """Say something beside the list."""
    click.echo(text, err=True)


def _requirements(records: list[PluginRecord]) -> list[str]:
    """Return a line for every distribution of others that has plugins."""
    from inv3d.core.registry.installer import requirement

    names = {record.distribution for record in records if not record.own and record.version}
    return [requirement(name) for name in sorted(names)]


def _refuse_broken(records: list[PluginRecord]) -> None:
    for record in records:
        if record.status in ("broken", "duplicate"):
            raise PluginError(
                f"{singular(record.kind)} '{record.name}' of {record.distribution}: {record.reason}"
            )
