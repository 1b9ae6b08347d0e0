"""Running `3dinv run` on the toy generator, in this process or in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inv3d.cli import main
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hooks import hooks
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.blank_plots import blank_plots
from tests.captures import files_of, write

TOY = "generators:toy=inv3d.testing.toy:ToyGenerator"
# a run of a second
QUICK = ("--method", "wplus", "--set", "latent.steps=6", "--set", "latent.samples=50")
# a run of all stages of the main method
WHOLE = (
    *("--method", "multilatent", "--views", "5", "--set", "latent.steps=12"),
    *("--set", "tuning.steps=12", "--set", "start.latent.steps=8"),
    *("--set", "start.latent.samples=50"),
)


def write_capture(folder: Path, views: int = 9) -> Path:
    """A capture of the toy generator."""
    made = toy_capture(ToyGenerator(ToyConfig()), views, motion=0.3)
    return write(files_of(made), folder)


def registered(patch: pytest.MonkeyPatch, *more: str) -> Iterator[None]:
    """Let the registry know the toy and other plugins; for fixtures."""
    patch.setenv("INV3D_PLUGINS", ",".join((TOY, *more)))
    registry.cache_clear()
    hooks.cache_clear()
    yield
    patch.undo()
    registry.cache_clear()
    hooks.cache_clear()


def run(*arguments: object, plots: bool = False) -> Result:
    """Call `3dinv run --generator toy` in this process.

    Args:
        arguments: of the command.
        plots: draw the plots of the report.
    """
    with nullcontext() if plots else blank_plots():
        return CliRunner().invoke(main, ["run", "--generator", "toy", *map(str, arguments)])


def resume(*arguments: object) -> Result:
    """Call `3dinv run --resume` in this process."""
    with blank_plots():
        return CliRunner().invoke(main, ["run", "--resume", *map(str, arguments)])


def fails(result: Result, code: int, said: str) -> None:
    """The command ended with one line on stderr that says so."""
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert said in line, line
    assert "this is a bug" not in line


def record(directory: Path) -> dict[str, Any]:
    """What run.json says."""
    found: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return found


def run_well(*arguments: object) -> None:
    """Call `3dinv run` as a child process does that knows the toy; it must succeed."""
    os.environ["INV3D_PLUGINS"] = TOY
    with blank_plots():
        result = CliRunner().invoke(main, ["run", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr


def start(*arguments: object, plugins: str, path: Path) -> subprocess.Popen[str]:
    """Start the command in another process.

    Args:
        arguments: of `3dinv run`.
        plugins: that it knows besides the toy, as in INV3D_PLUGINS.
        path: the folder of their modules.
    """
    places = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "inv3d", "run", *map(str, arguments)],
        env={
            **os.environ,
            "INV3D_PLUGINS": f"{TOY},{plugins}",
            "PYTHONPATH": os.pathsep.join(places),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
