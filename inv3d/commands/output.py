"""Tables and JSON on stdout, in one style for all commands."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from inv3d.core.errors import printable

if TYPE_CHECKING:
    from rich.text import Text

# where the output is no terminal, so that no line of a table is folded for a screen
_WIDTH = 200


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    title: str = "",
    *,
    whole: Collection[str] = (),
) -> None:
    """Print a table; texts are taken literally, brackets included, control characters left out.

    Args:
        columns: their titles.
        rows: a text for every column.
        title: over the table.
        whole: titles of columns that are never folded, however narrow the screen is.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    console.print(table)


def print_json(value: Any) -> None:
    """Print JSON for other programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
