"""A check for options that take a number: nan and inf are none."""

from __future__ import annotations

import math
from typing import Any

import click


def finite(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the number of an option, or its numbers; for `callback=`.

    Raises:
        click.BadParameter: where one isn't finite.
    """
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not math.isfinite(number):
            raise click.BadParameter(f"{number} isn't a finite number")
    return value
