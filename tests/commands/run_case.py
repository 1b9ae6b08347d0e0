"""A finished toy run on disk, for the tests of the commands that take one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from inv3d.core.errors import InvError
from tests.blank_plots import blank_plots
from tests.toy_runs import finish, toy_case, tuned, write_capture, write_run


def make_run(folder: Path, name: str = "run", **case: Any) -> Path:
    """Write a finished run and its capture (once a folder); return the run's directory."""
    made = tuned(toy_case(judges={}, **case))
    source = folder / "capture"
    if not source.exists():
        write_capture(made.capture, source)
    directory = write_run(made, folder / name, source)
    with blank_plots():
        finish(made, directory, source)
    return directory


def call(command: click.Command, *arguments: object) -> Result:
    """Run a command; it must not fail in an unexpected way."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, InvError | SystemExit):
        raise result.exception
    return result


def good(command: click.Command, *arguments: object) -> str:
    """Run a command that must succeed; return its stdout."""
    result = call(command, *arguments)
    assert result.exit_code == 0, result.output or result.exception
    return result.stdout


def answer(command: click.Command, *arguments: object) -> Any:
    """Run a command with --json; return what it says."""
    return json.loads(good(command, *arguments, "--json"), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} isn't JSON")


def fault(command: click.Command, *arguments: object) -> str:
    """Run a command that must fail with one line; return the line."""
    result = call(command, *arguments)
    assert isinstance(result.exception, InvError), result.output
    message = str(result.exception)
    assert "\n" not in message
    return message


def imports_nothing_heavy(module: str) -> bool:
    """Whether importing a module leaves the large packages alone."""
    code = (
        f"import sys, {module}; heavy = {{'torch', 'numpy', 'matplotlib', 'av', 'trimesh', "
        "'skimage', 'lpips', 'PIL'}; sys.exit(bool(heavy & set(sys.modules)))"
    )
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
