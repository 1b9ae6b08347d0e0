"""Checks for options that take a number, for `callback=`."""

from __future__ import annotations

import math
from typing import Any

import click


def finite(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the number of an option, or its numbers.

    Raises:
        click.BadParameter: where one isn't finite.
    """
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not math.isfinite(number):
            raise click.BadParameter(f"{number} isn't a finite number")
    return value


def seed(ctx: click.Context, parameter: click.Parameter, value: int) -> int:
    """Return a seed.

    Raises:
        click.BadParameter: where it has more than 64 bits, which PyTorch's generators hold.
    """
    if not -(2**63) <= value < 2**63:
        raise click.BadParameter(f"{value} has more than 64 bits; give a smaller number")
    return value
