"""Write docs/cli.md from the commands themselves.

python docs/make_cli.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from inv3d.cli import COMMANDS, main

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

Written by `python docs/make_cli.py` from what `--help` says; a test compares the two.

Tables and JSON go to stdout; progress, warnings and errors to stderr. An error is one line that
begins with `error:`. Exit codes: 0 fine, 1 the run, its files or its weights, 2 the command line,
an option or the input, 130 stopped by the user. Every command has `-h` and `--help`.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, "\n".join(section("3dinv", main))]
    parts += ["\n".join(section(f"3dinv {name}", found)) for name, found in commands()]
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command of ours with its name, and those that it has below it."""
    context = click.Context(main, info_name="3dinv", **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        below = command.commands if isinstance(command, click.Group) else {}
        yield from ((f"{name} {word}", found) for word, found in below.items())


def section(title: str, command: click.Command) -> Iterator[str]:
    """Yield the lines about one command."""
    context = click.Context(command, info_name=title, **command.context_settings)
    yield f"## {title}\n"
    yield f"`{' '.join([title, *command.collect_usage_pieces(context)])}`\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield f"{' '.join(paragraph.split())}\n"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield f"- {names(parameter)}: {parameter.help}{facts(parameter)}"
    yield ""


def names(option: click.Option) -> str:
    """Return an option's names with the value that it takes."""
    value = "" if option.is_flag and option.metavar is None else f" {metavar(option)}"
    spelt = " / ".join(", ".join(part) for part in (option.opts, option.secondary_opts) if part)
    return f"`{spelt}{value}`" + (" (may be repeated)" if option.multiple else "")


def metavar(option: click.Option) -> str:
    """Return the word for an option's value."""
    kind = option.type
    if option.metavar:
        return option.metavar
    if isinstance(kind, click.Choice):
        return "|".join(kind.choices)
    word = {"integer": "INT", "integer range": "INT", "float": "NUMBER", "float range": "NUMBER"}
    return word.get(kind.name, kind.name if "|" in kind.name else kind.name.upper())


def facts(option: click.Option) -> str:
    """Return limits, default and whether the option is required, as --help shows them."""
    kind = option.type
    found = []
    if isinstance(kind, click.types.IntRange | click.types.FloatRange):
        least = "above" if kind.min_open else "at least"
        found += [f"{least} {kind.min}"] if kind.min is not None else []
        found += [f"at most {kind.max}"] if kind.max is not None else []
    if option.required:
        found.append("required")
    if option.show_default:
        value = option.default
        if option.secondary_opts:
            value = (option.opts if value else option.secondary_opts)[0].removeprefix("--")
        found.append(f"default `{value}`")
    text = ", ".join(found)
    return f" {text[0].upper()}{text[1:]}." if found else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
