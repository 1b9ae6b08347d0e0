"""Tables and JSON on stdout, in one style for all commands."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from inv3d.core.errors import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# what the first column keeps beside numbers, before these go on in a further table
_LEAST_NAME = 16
_GAP = 2


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    title: str = "",
    *,
    whole: Collection[str] = (),
) -> None:
    """Print a table as wide as the terminal; 80 columns, or $COLUMNS, where there's none.

    Texts are taken literally, brackets included, control characters left out.

    Args:
        columns: their titles.
        rows: a text for every column.
        title: over the table.
        whole: titles of columns that are never folded, however narrow the screen is.
    """
    table = _table(title)
    for column in columns:
        table.add_column(_text(column), overflow="fold", no_wrap=column in whole)
    for row in rows:
        table.add_row(*map(_text, row))
    _print(table)


def print_numbers(
    name: str,
    labels: Sequence[str],
    rows: Iterable[tuple[str, Sequence[str | Text]]],
    title: str = "",
) -> None:
    """Print a table of numbers, which are never folded.

    Where they don't all fit beside the names, those that are left go on in a further table.

    Args:
        name: title of the first column.
        labels: titles of the numbers; the last word stays with the arrow behind it.
        rows: a name and a number for every label.
        title: over the table.
    """
    from rich.console import Console

    named = [(_text(first), [_text(cell) for cell in cells]) for first, cells in rows]
    heads = [_head(label) for label in labels]
    widths = [
        max(len(line) for line in (*head.split("\n"), *(cells[i].plain for _, cells in named)))
        for i, head in enumerate(heads)
    ]
    longest = max((first.cell_len for first, _ in named), default=0)
    room = Console().width - min(longest, _LEAST_NAME)
    for part in _parts(widths, room):
        table = _table(title)
        table.add_column(_text(name), overflow="fold", vertical="bottom")
        for i in part:
            table.add_column(_text(heads[i]), justify="right", no_wrap=True, vertical="bottom")
        for first, cells in named:
            table.add_row(first, *(cells[i] for i in part))
        _print(table)


def _head(label: str) -> str:
    """Put a label into lines of a word each, the arrow beside the last one."""
    words = label.split(" ")
    if len(words) > 1 and len(words[-1]) == 1:
        words[-2:] = [" ".join(words[-2:])]
    return "\n".join(words)


def _parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """Share columns out among tables, in order, each with as many as there's room for."""
    parts: list[list[int]] = [[]]
    left = room
    for i, width in enumerate(widths):
        if parts[-1] and width + _GAP > left:
            parts.append([])
            left = room
        parts[-1].append(i)
        left -= width + _GAP
    return parts


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(
        title=Text(printable(title)) if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )


def _text(cell: str | Text) -> Text:
    from rich.text import Text

    return Text(printable(cell)) if isinstance(cell, str) else cell


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)


def print_json(value: Any) -> None:
    """Print JSON for other programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
