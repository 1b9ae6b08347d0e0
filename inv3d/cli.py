"""The `3dinv` command: mounts commands when they're used and reports errors as one line."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from inv3d import __version__
from inv3d.core.errors import InvError, Note, printable, suggest, whole_text
from inv3d.core.registry.tolerance import tolerant_metadata

# name -> where the command is, what --help says of it without importing it
COMMANDS = {
    "run": ("inv3d.commands.run:command", "Invert a capture: views of a head in, a 3D head out."),
    "batch": ("inv3d.commands.batch:command", "Invert many captures, on one machine or many."),
    "train": (
        "inv3d.commands.train:command",
        "Train a method's or an estimator's networks for a generator.",
    ),
    "prepare": (
        "inv3d.commands.prepare:command",
        "Make a capture of a video or of photographs of a face.",
    ),
    "render": ("inv3d.commands.render:command", "Render views or a video of a finished run."),
    "edit": ("inv3d.commands.edit:command", "Change the head of a finished run."),
    "editor": (
        "inv3d.commands.editor:command",
        "Find and show the directions that edits go along.",
    ),
    "export": ("inv3d.commands.export:command", "Write the mesh of a finished run."),
    "convert": (
        "inv3d.commands.convert:command",
        "Take networks and results of other projects.",
    ),
    "eval": ("inv3d.commands.eval:command", "Measure a finished run."),
    "compare": ("inv3d.commands.compare:command", "Put several runs into one table."),
    "weights": (
        "inv3d.commands.weights:command",
        "List, find, check and fetch the weight files that plugins know.",
    ),
    "bench": (
        "inv3d.commands.bench:command",
        "Measure the speed of this machine beside a reference.",
    ),
    "doctor": ("inv3d.commands.doctor:command", "Show what works on this machine, with fixes."),
    "list-plugins": ("inv3d.commands.list_plugins:command", "List every plugin and its state."),
    "info": ("inv3d.commands.info:command", "Show what a plugin is and all its options."),
    "new-plugin": (
        "inv3d.commands.new_plugin:command",
        "Write a package with a plugin to begin with.",
    ),
    "validate": ("inv3d.commands.validate:command", "Check that a plugin does what it promises."),
}
INTERRUPTED = 130


class Program(click.Group):
    """The group: lazy commands, commands of plugins, one-line errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return our own commands in their order, then those of plugins."""
        try:
            return [*COMMANDS, *_plugin_commands()]
        except InvError as error:
            click.echo(f"warning: {error}", err=True)
            return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return _plugin_commands().get(cmd_name)
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line; name the nearest one where there's none."""
        name = args[0]
        known = name.startswith("-") or name in COMMANDS or name in self.list_commands(ctx)
        if not known:
            raise click.UsageError(f"no such command '{name}'{suggest(name, COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing our own."""
        rows = [
            (name, COMMANDS[name][1] if name in COMMANDS else _plugin_commands()[name].short_help)
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl([(name, text or "") for name, text in rows])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help where nothing was asked for."""
        return super().parse_args(ctx, args or ["--help"])

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the program; every error ends it with one line on stderr and an exit code."""
        extra["standalone_mode"] = False
        if isinstance(sys.stdout, io.TextIOWrapper):
            # as stderr does it: a path that isn't UTF-8 is spelt out, and ends nothing
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings(), tolerant_metadata(), _told_to_end():
                warnings.showwarning = _show_warning
                result = super().main(*args, **extra)
            sys.exit(result if isinstance(result, int) else 0)
        except click.ClickException as error:
            _fail(_one_line(error), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _fail("stopped", INTERRUPTED)
        except BrokenPipeError:
            # whoever read our output has left; what is still to be written goes nowhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(nowhere, stream.fileno())
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; here the options of the group are known."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except BaseException as error:
            if not (isinstance(error, Exception) or _ends_on_its_own(error)):
                raise
            if ctx.params["debug"]:
                traceback.print_exc()
            if isinstance(error, InvError):
                _fail(str(error), error.exit_code)
            _fail(_unexpected(error))


@contextlib.contextmanager
def _told_to_end() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that nothing half-written stays behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ends_on_its_own(error: BaseException) -> bool:
    """Whether the code of a plugin ends the program: by an exit, or an exception of its own."""
    from inv3d.core.registry.blame import culprit

    return not isinstance(error, KeyboardInterrupt) and culprit(error) is not None


def _unexpected(error: BaseException) -> str:
    """Return the line for an error that nobody expected: whose it is, and what to do."""
    from inv3d.core.registry.blame import culprit, described

    said, record = f"{type(error).__name__}: {whole_text(error)}", culprit(error)
    if record is None and isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}; choose another path"
    if record is None and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
        return f"stdout can't be written ({str(error.strerror).lower()}); send it elsewhere"
    if record is None:
        return f"{said} (this is a bug; run with --debug and report it)"
    if isinstance(error, ModuleNotFoundError):
        return f"{described(record)} failed: {said}; install that package"
    return (
        f"{described(record)} failed: {said}; run with --debug to see where, and report it to the "
        "plugin's author"
    )


def _plugin_commands() -> dict[str, click.Command]:
    """Return the commands that plugins add; ours can't be replaced."""
    from inv3d.core.registry.discovery import registry

    if not registry().of_kind("hooks"):
        return {}
    from inv3d.core.registry.hooks import Observers, hooks

    group = click.Group()
    Observers(hooks(), warnings.warn).call("inv3d_commands", group=group)
    return {name: command for name, command in group.commands.items() if name not in COMMANDS}


def _one_line(error: click.ClickException) -> str:
    """Return click's message, beginning in lower case and naming where to look further."""
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return f"{message}; see '{context.command_path} --help'" if context else message


def _fail(message: str, code: int = 1) -> NoReturn:
    click.echo(f"error: {printable(' '.join(message.splitlines()))}", err=True)
    sys.exit(code)


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    kind = "note" if issubclass(category, Note) else "warning"
    # a warning that nobody reads is no reason to end
    with contextlib.suppress(BrokenPipeError):
        click.echo(f"{kind}: {printable(' '.join(str(message).split()))}", err=True)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="3dinv")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """3D-aware GAN inversion: views of a head in, an editable 3D head out."""
