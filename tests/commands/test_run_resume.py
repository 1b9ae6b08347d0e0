"""Killed, stopped and resumed runs end with the same bytes as runs that were left alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from inv3d.core.fit.loop import Progress
from inv3d.core.registry.hookspecs import hookimpl
from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.rundir.files import CHECKPOINT, LOCK
from inv3d.rundir.lock import held
from inv3d.rundir.log import read_log
from tests.captures import noise_image, png, write
from tests.commands.run_cli import (
    QUICK,
    WHOLE,
    fails,
    record,
    registered,
    resume,
    run_well,
    start,
    write_capture,
)
from tests.commands.run_cli import run as run_toy
from tests.crash import Change, changes, died

LONG = (
    *WHOLE,
    *("--set", "latent.steps=8", "--set", "tuning.steps=8", "--set", "start.latent.steps=8"),
    *("--checkpoint-every", "5", "--no-report"),
)
STEPS = 24
# a plug-in that stops the run after this step, and says so, until it's killed
WAITING = """
import os
import threading
from inv3d.core.registry.hookspecs import hookimpl

taken = 0

@hookimpl
def inv3d_run_step(directory, progress):
    global taken
    taken += 1
    if taken == 15:
        os.write(1, b"waiting\\n")  # what hooks print goes to stderr
        threading.Event().wait()
"""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("toy") / "capture")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    yield from registered(monkeypatch)


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed, and every change of a file that it made."""

    path: Path
    changes: list[Change]

    def when(self, event: str, name: str, time: int) -> int:
        """Return the number of the change that is an event of a file for that time, from 0."""
        return [i for i, change in enumerate(self.changes) if change == (event, name)][time]


def begin(capture: Path, out: Path) -> list[object]:
    """Arguments of a run."""
    return ["--generator", "toy", "--input", capture, *LONG, "--out", out]


@pytest.fixture(scope="module")
def undisturbed(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return Undisturbed(out, changes(out, run_well, *begin(capture, out)))


def same(first: Path, second: Path) -> None:
    """Two runs have the same result and the same log, times aside."""
    name = "inversion.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()
    logs = [[dict(row, seconds=0) for row in read_log(d / "steps.jsonl")] for d in (first, second)]
    assert logs[0] == logs[1]
    assert len(logs[0]) == STEPS
    metrics = [json.loads((d / "metrics.json").read_text()) for d in (first, second)]
    assert metrics[0]["held_out"] == metrics[1]["held_out"]


def finished(directory: Path, undisturbed: Undisturbed) -> None:
    """A run has come to its end as if nothing had happened."""
    assert record(directory)["status"] == "finished"
    assert not (directory / CHECKPOINT).exists()
    same(undisturbed.path, directory)


@pytest.mark.slow
def test_a_kill_changes_nothing(capture: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(WAITING)
    out = tmp_path / "run"
    process = start(*begin(capture, out), plugins="hooks:waiting=waiting", path=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n", process.communicate()[1]
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert record(out)["status"] == "running"
    assert len(read_log(out / "steps.jsonl")) == 15
    resumed = resume(out)
    assert resumed.exit_code == 0, resumed.stderr
    # checkpoints stand at each end of a stage and at every fifth step of one
    assert "going on after 13 steps" in resumed.stderr
    finished(out, undisturbed)


@pytest.mark.parametrize(
    ("event", "name", "time", "steps"),
    [
        ("open", "steps.jsonl", 2, 0),
        ("os.rename", CHECKPOINT, 0, 0),
        ("os.rename", CHECKPOINT, 2, 8),
        ("os.rename", CHECKPOINT, 3, 8 + 5),
        ("open", "steps.jsonl", 19, 8 + 8),
        ("os.rename", "inversion.safetensors", 0, STEPS),
        ("os.rename", "metrics.json", 0, STEPS),
        # its last change says that the run is finished
        ("os.rename", "run.json", -1, STEPS),
    ],
)
def test_a_death_at_a_change_of_a_file_changes_nothing(
    capture: Path,
    undisturbed: Undisturbed,
    tmp_path: Path,
    event: str,
    name: str,
    time: int,
    steps: int,
) -> None:
    out = tmp_path / "run"
    fatal = undisturbed.when(event, name, time)
    assert died(out, fatal, run_well, *begin(capture, out))
    assert record(out)["status"] != "finished"
    resumed = resume(out)
    assert resumed.exit_code == 0, resumed.stderr
    assert f"going on after {steps} steps" in resumed.stderr
    finished(out, undisturbed)


@pytest.mark.parametrize("seed", range(3))
def test_deaths_one_after_the_other_change_nothing(
    capture: Path, undisturbed: Undisturbed, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    out = tmp_path / "run"
    # the first ones make the directory, before which there's nothing to go on with
    fatal = undisturbed.when("open", "steps.jsonl", 0) + dice.randrange(20)
    deaths, arguments = 0, begin(capture, out)
    while died(out, fatal, run_well, *arguments):
        deaths, arguments, fatal = deaths + 1, ["--resume", out], dice.randrange(1, 40)
    assert deaths >= 3
    finished(out, undisturbed)


def test_a_death_after_the_end_leaves_a_finished_run(
    capture: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fatal = undisturbed.when("os.remove", CHECKPOINT, 0)
    assert died(out, fatal, run_well, *begin(capture, out))
    assert record(out)["status"] == "finished"
    assert "finished already" in resume(out).stderr
    same(undisturbed.path, out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_says_how_to_go_on(
    capture: Path,
    undisturbed: Undisturbed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    out = tmp_path / "run"
    hook = types.ModuleType("signalling")

    @hookimpl
    def inv3d_run_step(progress: Progress) -> None:
        if (progress.stage, progress.step) == ("latent", 2):
            signal.raise_signal(number)

    vars(hook)["inv3d_run_step"] = inv3d_run_step
    monkeypatch.setitem(sys.modules, "signalling", hook)
    with monkeypatch.context() as patch:
        for _ in registered(patch, "hooks:signalling=signalling"):
            stopped = run_toy("--input", capture, *LONG, "--out", out)
    said = "stopped in stage 'latent' after 3 of 8 steps; continue with '3dinv run --resume"
    fails(stopped, 130, f"{said} {out}'")
    assert "stopping after this step; once more to stop at once" in stopped.stderr
    assert record(out)["status"] == "interrupted"
    resumed = resume(out)
    assert resumed.exit_code == 0, resumed.stderr
    assert "going on after 11 steps" in resumed.stderr
    finished(out, undisturbed)


@pytest.fixture
def stopped(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped while its report was written."""
    with monkeypatch.context() as patch:
        patch.setattr("inv3d.runs.finish.finish_run", interrupted)
        result = run_toy("--input", capture, *QUICK, "--out", tmp_path / "run", "--no-report")
    fails(result, 130, "run: the result is safe, but it has no report (stopped); make it with")
    return tmp_path / "run"


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_stop_while_the_report_is_written_costs_no_steps(stopped: Path) -> None:
    assert record(stopped)["status"] == "unreported"
    resumed = resume(stopped)
    assert resumed.exit_code == 0, resumed.stderr
    assert "going on after 6 steps" in resumed.stderr
    assert record(stopped)["status"] == "finished"
    assert "error" not in record(stopped)


def test_two_processes_dont_resume_one_run(stopped: Path) -> None:
    before = (stopped / "run.json").read_bytes()
    with held(stopped):
        fails(resume(stopped), 1, f"{stopped}: process {os.getpid()} is writing this run; wait")
    assert (stopped / "run.json").read_bytes() == before
    assert resume(stopped).exit_code == 0
    assert not (stopped / LOCK).exists()


def test_without_a_name_the_latest_unfinished_run_is_resumed(stopped: Path, tmp_path: Path) -> None:
    fails(resume(), 1, "no unfinished run in runs/")
    (tmp_path / "runs").mkdir()
    stopped.rename(tmp_path / "runs" / "b")
    assert resume().exit_code == 0
    fails(resume(), 1, "no unfinished run in runs/")


def test_only_runs_that_can_go_on_are_the_latest(stopped: Path, tmp_path: Path) -> None:
    edited = record(stopped) | {"edit": {}, "status": "running", "started": "9"}
    for name, text in (("a", "[]"), ("b", ""), ("c", json.dumps(edited))):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(text)
    fails(resume(), 1, "no unfinished run in runs/")
    stopped.rename(tmp_path / "runs" / "d")
    assert resume().exit_code == 0
    assert record(tmp_path / "runs" / "d")["status"] == "finished"


def test_an_edited_run_has_no_steps_to_go_on_with(stopped: Path, capture: Path) -> None:
    edited = record(stopped) | {"edit": {}, "status": "running"}
    (stopped / "run.json").write_text(json.dumps(edited))
    way = f"make its report with '3dinv eval {stopped} --save'"
    fails(resume(stopped), 1, way)
    fails(run_toy("--input", capture, *QUICK, "--out", stopped), 1, way)
    (stopped / "inversion.safetensors").unlink()
    fails(resume(stopped), 1, "make the edit again with '3dinv edit' and --overwrite")


def test_one_run_is_named(stopped: Path) -> None:
    fails(resume(stopped, "-o", "other"), 2, "-o can't be given with --resume DIR")


def test_a_finished_run_is_shown_again(stopped: Path) -> None:
    resume(stopped)
    before = (stopped / "inversion.safetensors").stat().st_mtime_ns
    again = resume(stopped)
    assert again.exit_code == 0
    assert "finished already" in again.stderr
    assert "Held-out frames" in again.stdout
    assert (stopped / "inversion.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "option", [["--seed", "3"], ["--method", "pti"], ["--set", "a=1"], ["--views", "3"]]
)
def test_nothing_can_be_changed(stopped: Path, option: list[str]) -> None:
    fails(resume(stopped, *option), 2, f"{option[0]} can't be given with --resume")


def test_what_the_run_began_with_must_be_there(
    stopped: Path, tmp_path: Path, capture: Path
) -> None:
    changed = write_capture(tmp_path / "other")
    write({"view003.png": png(noise_image(1, 32))}, changed)
    text = (stopped / "run.json").read_text()
    (stopped / "run.json").write_text(text.replace(str(capture), str(changed)))
    fails(resume(stopped), 1, "labels or masks aren't those that ")
    (stopped / "run.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    fails(resume(stopped), 1, "generator toy: fingerprint")
    (stopped / "run.json").write_text(text.replace(str(capture), str(tmp_path / "gone")))
    gone = f"{stopped}: its capture {tmp_path / 'gone'} isn't there; put it back, or start the run"
    fails(resume(stopped), 2, f"{gone} again with --overwrite")
    (stopped / "run.json").write_text(text.replace('"toy"', '"tox"'))
    fails(resume(stopped), 2, "unknown generator 'tox'; did you mean 'toy'?")


def test_the_weights_of_a_loss_must_be_those_of_the_start(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, original = tmp_path / "id.safetensors", asset("headid_a.safetensors").read_bytes()
    weights.write_bytes(original)
    loss = ("--set", "losses.headid.weights=id.safetensors", "--no-report")
    with monkeypatch.context() as patch:
        patch.setattr("inv3d.runs.finish.finish_run", interrupted)
        run_toy("--input", capture, *QUICK, *loss, "--out", "run")
    known = hashlib.sha256(original).hexdigest()
    assert record(tmp_path / "run")["files"] == {str(weights): known}
    tensors, facts = read_tensors(weights)
    write_tensors(weights, {name: value * 1.01 for name, value in tensors.items()}, facts)
    fails(resume("run"), 1, f"{weights}: isn't what the run began with; put it back, or start")
    weights.unlink()
    fails(resume("run"), 1, f"{weights}: isn't what the run began with; put it back, or start")
    weights.write_bytes(original)
    assert resume("run").exit_code == 0


def test_a_damaged_checkpoint_is_named(stopped: Path) -> None:
    data = (stopped / CHECKPOINT).read_bytes()
    (stopped / CHECKPOINT).write_bytes(data[: len(data) // 2])
    fails(resume(stopped), 1, "checkpoint.safetensors: not a readable safetensors file")


def test_a_place_without_a_run(tmp_path: Path) -> None:
    fails(resume(tmp_path), 1, "no run.json, so it's no run")
