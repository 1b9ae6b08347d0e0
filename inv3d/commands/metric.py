"""The option `--metric`: further losses that judge pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from inv3d.core.registry.discovery import registry


def metric_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option; the command is given `metrics`, role -> loss with options."""
    return click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="ROLE=LOSS[?OPTION=VALUE]",
        callback=_read,
        help="Also measure with a loss, such as soft=l1?resolution=32; a ROLE of perceptual or "
        "identity replaces the generator's own.",
    )(function)


def _read(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    metrics = {}
    for value in values:
        role, sign, loss = value.partition("=")
        if not (role and sign and loss):
            raise click.BadParameter(
                f"{value!r}: expected ROLE=LOSS, such as soft=l1?resolution=32"
            )
        if role in metrics:
            raise click.BadParameter(
                f"{value!r}: the role '{role}' is given twice; leave one out, or give it another "
                "name"
            )
        registry().record("losses", loss.partition("?")[0])
        metrics[role] = loss
    return metrics
