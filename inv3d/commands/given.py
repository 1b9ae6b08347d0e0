"""Which options stand in a command line, whatever their values are."""

from __future__ import annotations

import click
from click.core import ParameterSource


def options_given(ctx: click.Context) -> dict[str, str]:
    """Return the options of the command line: name -> its first spelling, such as --smooth."""
    return {
        str(parameter.name): parameter.opts[0]
        for parameter in ctx.command.params
        if ctx.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    }
