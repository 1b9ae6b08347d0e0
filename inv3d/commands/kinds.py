"""The `--kind` option: one plugin or many, both spellings are understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from inv3d.core.registry.record import GROUPS, singular


def kind_option(text: str) -> Callable[[Any], Any]:
    """Return the option.

    Args:
        text: its help.
    """
    return click.option("--kind", metavar="KIND", callback=_plural, help=f"{text}: {_KINDS}.")


def _plural(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    kind = {singular(kind): kind for kind in GROUPS}.get(value or "", value)
    if kind is None or kind in GROUPS:
        return kind
    raise click.BadParameter(f"{value!r} is none of {_KINDS}")


_KINDS = ", ".join(GROUPS)
