"""Whose an unexpected error is: named with its distribution, by what ran when it was raised."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from inv3d.cli import main
from inv3d.core.registry.blame import blamed
from inv3d.core.registry.discovery import registry
from tests.commands.run_cli import QUICK, registered, run, write_capture

PLUGINS = """
from inv3d import Generator, Inverter, Loss, hookimpl
from inv3d.testing.toy import ToyGenerator
import sys
from wobbly.helpers import fail


class Wobbly(Loss):
    name, api = "wobbly", "1.0"

    def prepare(self, target):
        return {prepared}

    def forward(self, rendering, cache):
        {forward}


class Other(Wobbly):
    name = "other"


class Method(Inverter):
    name, api = "wobbly", "1.0"

    def steps(self, generator, capture, context):
        {steps}


class Head(ToyGenerator):
    name, api = "wobbly", "1.0"

    @classmethod
    def create(cls, config, weights=None):
        fail()
"""
HELPERS = "def fail():\n    raise ValueError('oops\\nand more')\n"
HOOKS = """
from inv3d import hookimpl
from wobbly.helpers import fail

@hookimpl
def inv3d_exporters():
    return {"wob": lambda inversion, generator, path: fail()}
"""
POINTS = """
[inv3d.losses]
wobbly = wobbly.plugins:Wobbly
other = wobbly.plugins:Other
[inv3d.methods]
wobbly = wobbly.plugins:Method
[inv3d.generators]
wobbly = wobbly.plugins:Head
[inv3d.hooks]
wobbly = wobbly.hooks
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with plugins that fail in the way that is asked for."""
    site = tmp_path / "site"
    info = site / "inv3d_wobbly-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: inv3d-wobbly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (site / "wobbly").mkdir()
    (site / "wobbly" / "__init__.py").write_text("")
    (site / "wobbly" / "helpers.py").write_text(HELPERS)
    (site / "wobbly" / "hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**bodies: str) -> None:
        texts = {"prepared": "target.images", "forward": "fail()", "steps": "fail()"} | bodies
        text = PLUGINS
        for place, body in texts.items():
            text = text.replace("{" + place + "}", body)
        (site / "wobbly" / "plugins.py").write_text(text)

    registering = registered(monkeypatch)
    next(registering)
    yield write
    next(registering, None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "wobbly"]:
        del sys.modules[name]


def invert(tmp_path: Path, *arguments: object) -> Result:
    capture = write_capture(tmp_path / "capture")
    how = arguments if "--method" in arguments else (*QUICK, *arguments)
    return run("--input", capture, *how, "--out", tmp_path / "run", "--no-report")


def line_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "this is a bug" not in line
    return line


def test_a_package_that_is_missed_late_is_to_be_installed(install: Install, tmp_path: Path) -> None:
    install(forward="__import__('no_such_package')")
    said = line_of(invert(tmp_path, "--set", "losses.wobbly=1"))
    assert said.startswith("error: loss 'wobbly' of inv3d-wobbly failed: ModuleNotFoundError: ")
    assert said.endswith("'no_such_package'; install that package")


def test_an_error_in_a_loss_names_it_and_its_distribution(install: Install, tmp_path: Path) -> None:
    install()
    assert line_of(invert(tmp_path, "--set", "losses.wobbly=1")) == (
        "error: loss 'wobbly' of inv3d-wobbly failed: ValueError: oops and more; run with --debug "
        "to see where, and report it to the plugin's author"
    )


def test_a_class_is_named_before_those_that_it_inherits_from(
    install: Install, tmp_path: Path
) -> None:
    install()
    assert "error: loss 'other' of" in line_of(invert(tmp_path, "--set", "losses.other=1"))


@pytest.mark.parametrize(
    ("bodies", "kind"),
    [
        ({"forward": "return rendering.image @ cache[..., :3, :]"}, "RuntimeError"),
        ({"prepared": "None"}, "AttributeError"),
    ],
)
def test_an_error_in_torch_or_in_our_base_class_is_the_callers(
    install: Install, tmp_path: Path, bodies: dict[str, str], kind: str
) -> None:
    install(**bodies)
    said = line_of(invert(tmp_path, "--set", "losses.wobbly=1"))
    assert said.startswith(f"error: loss 'wobbly' of inv3d-wobbly failed: {kind}: ")


def test_debug_shows_the_traceback(install: Install, tmp_path: Path) -> None:
    install()
    words = ["--debug", "run", "--generator", "wobbly", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, words)
    assert "Traceback (most recent call last)" in result.stderr
    assert line_of(result).startswith("error: generator 'wobbly' of inv3d-wobbly failed: ")


def test_an_error_in_a_method(install: Install, tmp_path: Path) -> None:
    install(steps="yield fail()")
    said = line_of(invert(tmp_path, "--method", "wobbly"))
    assert said.startswith("error: method 'wobbly' of inv3d-wobbly failed: ValueError: oops")


def test_an_exit_in_a_method_is_an_error_of_the_plugin(install: Install, tmp_path: Path) -> None:
    install(steps="yield sys.exit(0)")
    said = line_of(invert(tmp_path, "--method", "wobbly"))
    assert said.startswith("error: method 'wobbly' of inv3d-wobbly failed: SystemExit: 0; run with")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            "yield 3",
            "method wobbly: its steps yielded 'int', expected a Progress",
        ),
        (
            "return 3",
            "its steps() returns 'int', expected a function that yields",
        ),
    ],
)
def test_steps_of_another_kind(install: Install, tmp_path: Path, steps: str, said: str) -> None:
    install(steps=steps)
    result = invert(tmp_path, "--method", "wobbly")
    assert result.exit_code == 1 and said in result.stderr


def test_a_loss_that_returns_no_tensor(install: Install, tmp_path: Path) -> None:
    install(forward="return None")
    result = invert(tmp_path, "--set", "losses.wobbly=1")
    assert result.exit_code == 1
    assert "loss 'wobbly': returned a NoneType for 1 views, expected a tensor" in result.stderr


def test_an_error_in_an_exporter_and_in_a_metric(install: Install, tmp_path: Path) -> None:
    install()
    assert invert(tmp_path).exit_code == 0
    words = ["export", str(tmp_path / "run"), "--format", "wob", "-o", str(tmp_path / "x.wob")]
    said = line_of(CliRunner().invoke(main, words))
    assert said.startswith("error: hook 'wobbly' of inv3d-wobbly failed: ValueError: oops")
    words = ["eval", str(tmp_path / "run"), "--metric", "wobbliness=wobbly"]
    said = line_of(CliRunner().invoke(main, words))
    assert "loss 'wobbly' of inv3d-wobbly failed" in said


def test_errors_of_our_own_plugins_are_ours(install: Install) -> None:
    install()
    kind = registry().load("losses", "mse")
    try:
        kind.create(kind.Config()).prepare(None)
    except AttributeError as error:
        assert blamed(error) == "AttributeError: 'NoneType' object has no attribute 'images'"
