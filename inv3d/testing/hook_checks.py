"""What a module of hooks is held to: each of its hooks, called as 3dinv calls it."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from inv3d.core.config import PluginConfig
from inv3d.core.errors import InterruptedRun
from inv3d.core.fit.loop import Progress
from inv3d.core.inversion import Inversion, Made
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hookspecs import HookSpecs, manager
from inv3d.testing import common_checks
from inv3d.testing.subjects import Subject, latents
from inv3d.testing.suite import DoesntApply, Suite
from inv3d.testing.toy import ToyConfig, ToyGenerator

SUITE: Suite[Subject] = Suite()
common_checks.installed(SUITE)
STEPS = 3


def _implements(subject: Subject) -> list[str]:
    found = manager()
    found.register(subject.target)
    callers = found.get_hookcallers(found.list_name_plugin()[0][1]) or []
    return [caller.name for caller in callers]


def _call(subject: Subject, hook: str, **arguments: Any) -> list[Any]:
    """Call one hook of the module, and nothing but it."""
    if hook not in _implements(subject):
        raise DoesntApply(f"it has no {hook}")
    found = manager()
    found.register(subject.target)
    given: list[Any] = getattr(found.hook, hook)(**arguments)
    return given


def _inversion() -> tuple[Inversion, ToyGenerator]:
    generator = ToyGenerator(ToyConfig()).requires_grad_(False)
    found = Inversion(
        latents(generator, 1),
        generator.spec.camera.front(),
        "toy",
        generator.spec.fingerprint,
        history=(Made("method", "wplus"),),
    )
    return found, generator


def _record() -> dict[str, Any]:
    return {
        "format": 1,
        "method": {"name": "wplus", "preset": None, "options": {"latent": {"steps": STEPS}}},
        "generator": {"name": "toy", "options": {}, "weights": None, "fingerprint": "0" * 16},
        "input": {"path": "sample:static", "views": ["a.png"], "chosen": [0], "held_out": []},
        "seed": 303,
        "status": "running",
    }


def _steps() -> list[Progress]:
    return [
        Progress("latent", i, STEPS, {"total": 1.0 / (i + 1), "mse": 0.5}, {"latent": 0.1}, 0.01)
        for i in range(STEPS)
    ]


def _metrics() -> dict[str, Any]:
    mean = {"psnr": 20.0, "ssim": 0.5, "perceptual": None}
    return {"chosen": mean, "held_out": mean, "front": mean, "columns": [], "seconds": {}}


def _directory(folder: str) -> Path:
    path = Path(folder) / "run"
    path.mkdir()
    (path / "run.json").write_text(json.dumps(_record()))
    return path


@SUITE.check
def says_what_it_is(subject: Subject) -> None:
    """The module has a docstring, whose first line is its summary."""
    assert (inspect.getdoc(subject.target) or "").strip(), "the module has no docstring"


@SUITE.check
def implements_hooks(subject: Subject) -> None:
    """At least one function is marked with `hookimpl`."""
    assert _implements(subject), (
        f"no function is marked with @inv3d.hookimpl; hooks: {', '.join(_all())}"
    )


def _all() -> list[str]:
    return [name for name in vars(HookSpecs) if name.startswith("inv3d_")]


@SUITE.check
def adds_commands_that_can_be_shown(subject: Subject) -> None:
    """Commands are click's, with a line of help, and show theirs without being used."""
    group = click.Group()
    _call(subject, "inv3d_commands", group=group)
    assert group.commands, "inv3d_commands adds none"
    for name, command in group.commands.items():
        assert command.short_help or command.help, f"command '{name}' has no help"
        command.get_help(click.Context(command, info_name=name))


@SUITE.check
def watches_a_run_to_its_end(subject: Subject) -> None:
    """Start, steps and end are taken without an error."""
    hooks = {"inv3d_run_start", "inv3d_run_step", "inv3d_run_end"} & {*_implements(subject)}
    if not hooks:
        raise DoesntApply("it doesn't watch runs")
    found = manager()
    found.register(subject.target)
    with tempfile.TemporaryDirectory() as folder:
        directory, inversion = _directory(folder), _inversion()[0]
        found.hook.inv3d_run_start(directory=directory, config=_record())
        for step in _steps():
            found.hook.inv3d_run_step(directory=directory, progress=step)
        before = inversion.digest()
        found.hook.inv3d_run_end(directory=directory, inversion=inversion, metrics=_metrics())
        assert inversion.digest() == before, "it changes the result"
        assert (directory / "run.json").is_file(), "it takes run.json away"


@SUITE.check
def watches_two_runs_one_after_the_other(subject: Subject) -> None:
    """A second run in the same process is watched as the first."""
    watches_a_run_to_its_end(subject)
    watches_a_run_to_its_end(subject)


@SUITE.check
def takes_a_run_that_stops(subject: Subject) -> None:
    """A run that was stopped after a step is no error."""
    if not {"inv3d_run_start", "inv3d_run_failed"} & {*_implements(subject)}:
        raise DoesntApply("it doesn't watch runs")
    found = manager()
    found.register(subject.target)
    with tempfile.TemporaryDirectory() as folder:
        directory = _directory(folder)
        found.hook.inv3d_run_start(directory=directory, config=_record())
        found.hook.inv3d_run_step(directory=directory, progress=_steps()[0])
        found.hook.inv3d_run_failed(directory=directory, error=InterruptedRun("stopped"))


@SUITE.check
def exports_files(subject: Subject) -> None:
    """Every exporter writes the file that it's given."""
    for formats in _call(subject, "inv3d_exporters"):
        assert isinstance(formats, dict), f"inv3d_exporters returns a {type(formats).__name__}"
        for name, function in formats.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"head.{name}"
                function(*_inversion(), path)
                assert path.exists(), f"the exporter of '{name}' writes nothing at its path"


@SUITE.check
def leaves_captures_of_others_alone(subject: Subject) -> None:
    """`inv3d_read_capture` returns None for a folder of pictures, and for what isn't there."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.png").write_bytes(b"")
        for path in (Path(folder), Path(folder) / "gone"):
            read = [files for files in _call(subject, "inv3d_read_capture", path=path) if files]
            assert not read, f"it takes {path.name} for a capture of its format"


@SUITE.check
def names_loggers_that_can_be_called(subject: Subject) -> None:
    """Loggers are functions by name, and none is made before it's asked for."""
    for loggers in _call(subject, "inv3d_loggers"):
        assert isinstance(loggers, dict) and loggers, "inv3d_loggers names none"
        for name, function in loggers.items():
            assert callable(function), f"logger '{name}' is a {type(function).__name__}"
            kinds = {p.kind for p in inspect.signature(function).parameters.values()}
            plain = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
            assert kinds <= {*plain, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@SUITE.check
def names_executors_that_can_be_called(subject: Subject) -> None:
    """Executors are functions by name that take what is wanted, and none is made before."""
    for executors in _call(subject, "inv3d_executors"):
        assert isinstance(executors, dict) and executors, "inv3d_executors names none"
        for name, function in executors.items():
            assert callable(function), f"executor '{name}' is a {type(function).__name__}"
            takes = list(inspect.signature(function).parameters.values())
            assert takes and takes[0].kind is not inspect.Parameter.KEYWORD_ONLY, (
                f"executor '{name}' takes nothing, expected an inv3d.Wanted first"
            )


@SUITE.check
def names_metrics_that_there_are(subject: Subject) -> None:
    """Metrics are installed losses that judge pictures, with options that they take."""
    from inv3d.core.config import build_config

    for metrics in _call(subject, "inv3d_metrics"):
        assert isinstance(metrics, Mapping), f"inv3d_metrics returns a {type(metrics).__name__}"
        for role, spec in metrics.items():
            name, _, options = spec.partition("?")
            kind = registry().load("losses", name)
            assert tuple(kind.needs) == ("image",), (
                f"metric '{role}': {name} needs more than images"
            )
            pairs = (part.partition("=") for part in options.split("&") if part)
            given: dict[str, Any] = {key: value for key, _, value in pairs}
            checked: type[PluginConfig] = kind.Config
            build_config(checked, given, f"metric '{role}'")
