"""Hooks: found, checked, called one plugin at a time."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import types
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from inv3d.cli import main
from inv3d.core.errors import (
    InputError,
    InterruptedRun,
    PluginError,
    UnsupportedError,
    UsageError,
)
from inv3d.core.executor import Wanted
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hooks import Observers, hooks, open_executor, open_loggers
from inv3d.core.registry.hookspecs import HookSpecs, hookimpl, manager, misspelt_hook
from inv3d.io.dataset import open_capture
from inv3d.rundir.log import read_log
from tests.commands.run_cli import QUICK, registered, run, write_capture

TESTS = Path(__file__).parents[2]
OWN = {"executors", "tensorboard", "trackers"}


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Offer modules as hook plugins."""

    def offer(**modules: types.ModuleType) -> None:
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, f"hook_{name}", module)
        entries = ",".join(f"hooks:{name}=hook_{name}" for name in modules)
        monkeypatch.setenv("INV3D_PLUGINS", entries)
        registry.cache_clear()
        hooks.cache_clear()

    yield offer
    monkeypatch.undo()
    registry.cache_clear()
    hooks.cache_clear()


def module(**functions: Any) -> types.ModuleType:
    made = types.ModuleType("hook")
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


def test_a_good_module_has_no_fault() -> None:
    good = module(inv3d_run_end=lambda directory, metrics: None)
    assert misspelt_hook(good) == ""


def test_a_misspelt_hook_is_a_fault() -> None:
    assert misspelt_hook(module(inv3d_run_stop=lambda directory: None)) == (
        "there is no hook inv3d_run_stop; did you mean 'inv3d_run_step'?"
    )


def test_a_wrong_argument_is_a_fault() -> None:
    assert misspelt_hook(module(inv3d_run_start=lambda folder: None)) == (
        "hook inv3d_run_start has no argument 'folder'; known: config, directory"
    )


def test_a_hook_may_have_another_name_in_its_module() -> None:
    made = types.ModuleType("hook")
    made.mine = hookimpl(specname="inv3d_run_end")(lambda metrics: None)  # type: ignore[attr-defined]
    assert misspelt_hook(made) == ""


def test_broken_modules_are_left_out_with_a_warning(offered: Any) -> None:
    offered(good=module(inv3d_run_start=lambda directory: None), bad=module(inv3d_oops=lambda: 0))
    with pytest.warns(UserWarning, match=r"hook 'bad' can't be used: .*inv3d_oops"):
        found = hooks()
    assert [name for name, _ in found.list_name_plugin() if name not in OWN] == ["good"]


def test_strict_makes_them_errors(offered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(bad=module(inv3d_oops=lambda: 0))
    monkeypatch.setenv("INV3D_STRICT", "1")
    with pytest.raises(PluginError, match="hook 'bad' can't be used"):
        hooks()


def test_disabled_modules_are_silent(offered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_DISABLE", "bad")
    offered(bad=module(inv3d_oops=lambda: 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {name for name, _ in hooks().list_name_plugin()} == OWN


def observers(**modules: types.ModuleType) -> tuple[Observers, list[str]]:
    found, said = manager(), list[str]()
    for name, plugin in modules.items():
        found.register(plugin, name)
    return Observers(found, said.append), said


def test_a_hook_that_raises_is_reported_once_and_then_left_out() -> None:
    calls: list[str] = []

    def fails(directory: Path) -> None:
        calls.append("bad")
        raise ValueError("oops")

    good = module(inv3d_run_start=lambda directory: calls.append("good"))
    watching, said = observers(first=good, bad=module(inv3d_run_start=fails))
    for _ in range(3):
        watching.call("inv3d_run_start", directory=Path(), config={})
    assert sorted(calls) == ["bad", "good", "good", "good"]
    assert said == [
        "hooks 'bad' failed in inv3d_run_start (ValueError: oops); they're left out from here on"
    ]


def test_results_of_all_plugins_are_returned() -> None:
    watching, _ = observers(
        a=module(inv3d_exporters=lambda: {"x": 1}), b=module(inv3d_exporters=lambda: {"y": 2})
    )
    found: dict[str, int] = {}
    for part in watching.call("inv3d_exporters"):
        found |= part
    assert found == {"x": 1, "y": 2}


# --- each hook, called by the command that calls it


class Recorder:
    """Hooks of a run, and what they were given at that moment."""

    def __init__(self) -> None:
        self.starts: list[tuple[Path, dict[str, Any]]] = []
        self.steps: list[tuple[Path, Progress]] = []
        self.ends: list[tuple[Path, Inversion, dict[str, Any]]] = []

    @hookimpl
    def inv3d_run_start(self, directory: Path, config: dict[str, Any]) -> None:
        assert config == json.loads((directory / "run.json").read_text())
        self.starts.append((directory, config))

    @hookimpl
    def inv3d_run_step(self, directory: Path, progress: Progress) -> None:
        self.steps.append((directory, progress))

    @hookimpl
    def inv3d_run_end(self, directory: Path, inversion: Inversion, metrics: dict[str, Any]) -> None:
        assert metrics == json.loads((directory / "metrics.json").read_text())
        self.ends.append((directory, inversion, metrics))


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    """The directory of a toy run, and what its hooks saw."""
    folder, recorder = tmp_path_factory.mktemp("observed"), Recorder()
    observer = types.ModuleType("hook_observer")
    for name in ("inv3d_run_start", "inv3d_run_step", "inv3d_run_end"):
        setattr(observer, name, getattr(recorder, name))
    capture, out = write_capture(folder / "capture"), folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "hook_observer", observer)
        for _ in registered(patch, "hooks:observer=hook_observer"):
            result = run("--input", capture, *QUICK, "--out", out, "--no-report")
    assert result.exit_code == 0, result.stderr
    assert "hooks 'observer' failed" not in result.stderr
    return out, recorder


def test_hook_run_start_has_the_directory_and_run_json(observed: tuple[Path, Recorder]) -> None:
    out, recorder = observed
    ((directory, config),) = recorder.starts
    assert directory == out
    assert config["method"]["name"] == "wplus" and config["method"]["options"]["latent"]


def test_hook_run_step_has_every_step_of_the_log(observed: tuple[Path, Recorder]) -> None:
    out, recorder = observed
    assert {directory for directory, _ in recorder.steps} == {out}
    seen = [asdict(progress) for _, progress in recorder.steps]
    assert len(seen) == 6 and seen == read_log(out / "steps.jsonl")


def test_hook_run_end_has_the_result_and_the_metrics(observed: tuple[Path, Recorder]) -> None:
    out, recorder = observed
    ((directory, inversion, metrics),) = recorder.ends
    assert directory == out
    assert torch.equal(inversion.ws, Inversion.load(out).ws)
    assert metrics["views"] == {"all": 9, "chosen": 1, "held_out": 8}


def use(patch: pytest.MonkeyPatch, made: types.ModuleType) -> Iterator[None]:
    """Let a run have a module of hooks."""
    patch.setitem(sys.modules, "hook_used", made)
    yield from registered(patch, "hooks:used=hook_used")


def test_hook_run_failed_has_the_error_that_ended_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[Path, BaseException]] = []

    def fails(progress: Progress) -> None:
        raise SystemExit("no more of me")

    def stop(directory: Path, progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    watching = module(
        inv3d_run_step=stop,
        inv3d_run_failed=lambda directory, error: ended.append((directory, error)),
    )
    capture = write_capture(tmp_path / "capture", 2)
    for _ in use(monkeypatch, watching):
        result = run("--input", capture, *QUICK, "--out", tmp_path / "run")
    assert result.exit_code == 130
    ((directory, error),) = ended
    assert directory == tmp_path / "run" and isinstance(error, InterruptedRun)
    for _ in use(monkeypatch, module(inv3d_run_step=fails)):
        result = run("--input", capture, *QUICK, "--out", tmp_path / "other", "--no-report")
    assert result.exit_code == 0
    assert "failed in inv3d_run_step (SystemExit: no more of me)" in result.stderr


def test_hook_read_capture_makes_files_of_another_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, odd = write_capture(tmp_path / "capture", 2), tmp_path / "head.odd"
    odd.write_text("odd")
    asked: list[str] = []

    def read(path: Path) -> dict[str, Any] | None:
        def content(file: Path) -> bytes:
            asked.append(file.name)
            return file.read_bytes()

        if path.suffix != ".odd":
            return None
        files = [file for file in capture.rglob("*") if file.is_file()]
        return {str(f.relative_to(capture)): partial(content, f) for f in files}

    for _ in use(monkeypatch, module(inv3d_read_capture=read)):
        assert len(open_capture(odd).names) == 2
        assert "dataset.json" in asked and not [name for name in asked if name.endswith("png")]
        assert open_capture(odd).load(32).images.shape == (2, 3, 32, 32)
        assert len(open_capture(capture).names) == 2
    for _ in use(monkeypatch, module(inv3d_read_capture=lambda path: {"../a.png": b""})):
        with pytest.raises(InputError, match=r"as a plugin reads it: the name '\.\./a\.png'"):
            open_capture(odd)
    for _ in use(monkeypatch, module(inv3d_read_capture=lambda path: {"a.png": "text"})):
        with pytest.raises(InputError, match="a plugin made a str of it, expected bytes"):
            open_capture(odd).load(32)


def test_hook_metrics_are_measured_with_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, out = write_capture(tmp_path / "capture", 2), tmp_path / "run"
    measuring = module(inv3d_metrics=lambda: {"soft": "l1?resolution=8", "gone": "no_such_loss"})
    for _ in use(monkeypatch, measuring):
        words = ("--input", capture, *QUICK, "--out", out, "--no-report", "--metric", "hard=mse")
        result = run(*words)
    assert result.exit_code == 0, result.stderr
    assert "metric 'gone' of a plugin is left out (unknown loss 'no_such_loss'" in result.stderr
    measured = json.loads((out / "metrics.json").read_text())
    assert {"soft", "hard"} <= set(measured["chosen"]) and "gone" not in measured["chosen"]


class Notebook:
    """A package with init, log and finish, and what it was given."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def init(self, **options: Any) -> None:
        self.told.append(options)

    def log(self, values: dict[str, float]) -> None:
        self.told.append(values)

    def finish(self) -> None:
        self.told.append("finish")


def test_hook_loggers_are_made_where_a_run_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, package = write_capture(tmp_path / "capture", 2), Notebook()
    monkeypatch.setitem(sys.modules, "wandb", package)  # type: ignore[arg-type]
    words = ("--input", capture, *QUICK, "--no-report")
    for _ in registered(monkeypatch):
        silent = run(*words, "--out", tmp_path / "silent")
        assert silent.exit_code == 0 and package.told == []
        result = run(*words, "--out", tmp_path / "run", "--logger", "wandb?project=heads")
    assert result.exit_code == 0, result.stderr
    begun, *steps, measured, end = package.told
    assert begun["project"] == "heads" and begun["mode"] == "offline" and begun["name"] == "run"
    assert begun["dir"] == str(tmp_path / "run")
    assert begun["config"]["method"]["name"] == "wplus"
    assert [step["latent/step"] for step in steps] == list(range(6))
    assert steps[0]["latent/total"] > 0 and steps[0]["latent/rate of latent"] >= 0
    assert measured["chosen/psnr"] > 0 and end == "finish"


@pytest.mark.parametrize(
    ("asked", "before", "after"),
    [("wandb", None, "false"), ("wandb", "true", "true"), ("wandb?mode=online", None, None)],
)
def test_wandb_reports_nothing_to_its_maker_unless_it_is_to_be_online(
    monkeypatch: pytest.MonkeyPatch, asked: str, before: str | None, after: str | None
) -> None:
    name = "WANDB_ERROR_REPORTING"
    monkeypatch.setenv(name, before or "")
    if before is None:
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "wandb", Notebook())  # type: ignore[arg-type]
    open_loggers([asked])
    assert os.environ.get(name) == after


def test_hook_loggers_that_arent_there_are_errors_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, out = write_capture(tmp_path / "capture", 2), tmp_path / "run"
    monkeypatch.setitem(sys.modules, "trackio", None)  # type: ignore[arg-type]

    def raises(**options: Any) -> None:
        raise ValueError("no")

    offered = {"mine": raises, "number": lambda: 5}
    for _ in use(monkeypatch, module(inv3d_loggers=lambda: offered)):
        for logger, said in (
            ("wandbb", "error: --logger wandbb: no plugin offers it; did you mean 'wandb'?"),
            ("trackio", "error: --logger trackio: needs the package trackio ("),
            ("mine?a=1", "error: --logger mine?a=1: can't be made (ValueError: no)"),
            ("number", "error: --logger number: number made a int, expected an object with hooks"),
        ):
            result = run("--input", capture, *QUICK, "--out", out, "--logger", logger)
            assert result.exit_code == (1 if logger == "number" else 2)
            assert result.stderr.startswith(said), result.stderr
    assert not out.exists()


def test_hook_executors_are_given_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(wanted: Wanted, queue: str = "day") -> tuple[Wanted, str]:
        return wanted, queue

    wanted = Wanted("cpu", workers=3)
    for _ in use(monkeypatch, module(inv3d_executors=lambda: {"mine": make})):
        assert open_executor("mine?queue=night", wanted) == (wanted, "night")
        with pytest.raises(UsageError, match="--executor mime: no plugin offers it; did you mean"):
            open_executor("mime", wanted)


class Writer:
    """A SummaryWriter that remembers."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.told: list[Any] = []

    def add_text(self, name: str, text: str) -> None:
        self.told.append((name, text))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((name, value, step))

    def close(self) -> None:
        self.told.append("closed")


def test_the_logger_for_tensorboard_writes_into_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    (logger,) = open_loggers(["tensorboard"]).values()
    logger.inv3d_run_start(directory=tmp_path, config={"seed": 1})
    logger.inv3d_run_step(Progress("latent", 3, 9, {"total": 2.0}, {"w": 0.1}, 0.1))
    logger.inv3d_run_end(metrics={"chosen": {"psnr": 20.0, "name": "a.png"}})
    assert logger.writer.folder == str(tmp_path / "tensorboard")
    assert logger.writer.told[1:] == [
        ("latent/total", 2.0, 3),
        ("latent/rate of w", 0.1, 3),
        ("chosen/psnr", 20.0, 1),
        "closed",
    ]
    logger.inv3d_training_start(directory=tmp_path, config={"training": {"steps": 2}})
    logger.inv3d_training_step(Progress("training", 0, 2, {"total": 3.0}, {"a": 0.2}, 0.1))
    logger.inv3d_training_checked(step=1, values={"latent": 0.5})
    logger.inv3d_training_end()
    assert logger.writer.told[0][0] == "training" and "steps" in logger.writer.told[0][1]
    assert logger.writer.told[1:] == [
        ("training/total", 3.0, 0),
        ("training/rate of a", 0.2, 0),
        ("held-out/latent", 0.5, 1),
        "closed",
    ]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UnsupportedError, match="needs the package tensorboard"):
        open_loggers(["tensorboard"])


def test_hook_exporters_write_the_formats_that_they_name(
    observed: tuple[Path, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = observed

    def write_count(inversion: Inversion, generator: Generator, path: Path) -> None:
        path.write_text(f"{generator.spec.name} {len(inversion.ws)}")

    offering = module(inv3d_exporters=lambda: {"count": write_count})
    monkeypatch.setitem(sys.modules, "hook_offering", offering)
    for _ in registered(monkeypatch, "hooks:offering=hook_offering"):
        words = ["export", str(out), "--format", "count", "-o", str(tmp_path / "head.txt")]
        assert CliRunner().invoke(main, words).exit_code == 0
    assert (tmp_path / "head.txt").read_text() == "toy 1"


def test_hook_commands_are_commands_of_the_program(offered: Any) -> None:
    greet = click.Command("greet", callback=lambda: click.echo("hello"), short_help="Say hello.")
    replaced = click.Command("run", callback=lambda: click.echo("mine"), short_help="Not ours.")

    def add(group: click.Group) -> None:
        group.add_command(greet)
        group.add_command(replaced)

    offered(greeter=module(inv3d_commands=add))
    assert CliRunner().invoke(main, ["greet"]).stdout == "hello\n"
    shown = CliRunner().invoke(main, ["--help"]).stdout
    assert "Say hello." in shown and "Not ours." not in shown


# --- the hooks as a whole


def hook_names() -> list[str]:
    return [name for name in vars(HookSpecs) if name.startswith("inv3d_")]


def test_every_hook_is_described() -> None:
    assert all(getattr(HookSpecs, name).__doc__ for name in hook_names())


def test_every_hook_has_a_test() -> None:
    """A function `test_hook_NAME...`, which calls it as a plugin's; see those above."""
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    tests = re.findall(r"^def (test_hook_\w+)", "\n".join(texts), re.MULTILINE)
    known = {f"test_hook_{name.removeprefix('inv3d_')}": name for name in hook_names()}
    tested = set()
    for test in tests:
        begins = [start for start in known if f"{test}_".startswith(f"{start}_")]
        assert begins, f"{test} is named after no hook"
        tested.add(known[max(begins, key=len)])
    assert tested == set(hook_names())
