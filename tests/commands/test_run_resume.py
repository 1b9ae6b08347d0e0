"""Killed, stopped and resumed runs end with the same bytes as runs that were left alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

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
    start,
    write_capture,
)
from tests.commands.run_cli import run as run_toy

LONG = (
    *WHOLE,
    *("--set", "latent.steps=40", "--set", "tuning.steps=40", "--set", "start.latent.steps=40"),
    *("--checkpoint-every", "7", "--no-report"),
)
STEPS = 120


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("toy") / "capture")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    yield from registered(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start("--generator", "toy", "--input", capture, *LONG, "--out", out)
    assert process.wait() == 0
    return out


def lines(directory: Path) -> int:
    log = directory / "steps.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def stop_after(process: subprocess.Popen[str], directory: Path, steps: int, number: int) -> None:
    """Send a signal once the log has so many steps."""
    while process.poll() is None and lines(directory) < steps:
        time.sleep(0.002)
    process.send_signal(number)


def same(first: Path, second: Path) -> None:
    """Two runs have the same result and the same log, times aside."""
    name = "inversion.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()
    logs = [[dict(row, seconds=0) for row in read_log(d / "steps.jsonl")] for d in (first, second)]
    assert logs[0] == logs[1]
    metrics = [json.loads((d / "metrics.json").read_text()) for d in (first, second)]
    assert metrics[0]["held_out"] == metrics[1]["held_out"]


@pytest.mark.slow
def test_kills_at_random_steps_change_nothing(
    capture: Path, undisturbed: Path, tmp_path: Path
) -> None:
    rng = random.Random(5)
    out = tmp_path / "run"
    arguments: tuple[object, ...] = (
        *("--generator", "toy", "--input", capture, *LONG, "--out", out),
    )
    kills = 0
    while True:
        process = start(*arguments)
        target = lines(out) + rng.randint(1, STEPS // 3)
        stop_after(process, out, target, signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
        assert record(out)["status"] == "running"
        arguments = ("--resume", out)
    assert kills >= 3
    assert record(out)["status"] == "finished"
    assert not (out / CHECKPOINT).exists()
    assert len(read_log(out / "steps.jsonl")) == STEPS
    same(undisturbed, out)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_says_how_to_go_on(
    capture: Path, undisturbed: Path, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "run"
    process = start("--generator", "toy", "--input", capture, *LONG, "--out", out)
    stop_after(process, out, 50, number)
    _, said = process.communicate()
    assert process.returncode == 130
    assert record(out)["status"] == "interrupted"
    assert f"continue with '3dinv run --resume {out}'" in said.splitlines()[-1]
    assert said.splitlines()[-1].startswith("error: stopped in stage 'latent' after ")
    resumed = resume(out)
    assert resumed.exit_code == 0, resumed.stderr
    assert re.search(r"going on after [5-9]\d steps", resumed.stderr)
    same(undisturbed, out)


@pytest.mark.slow
def test_a_kill_before_the_first_checkpoint_begins_again(
    capture: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start("--generator", "toy", "--input", capture, *LONG, "--out", out)
    stop_after(process, out, 1, signal.SIGKILL)
    process.communicate()
    (out / CHECKPOINT).unlink(missing_ok=True)
    resumed = resume(out)
    assert resumed.exit_code == 0, resumed.stderr
    assert "going on after 0 steps" in resumed.stderr
    same(undisturbed, out)


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
    fails(resume(stopped), 1, "labels or masks aren't those that the run was made from; put")
    (stopped / "run.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    fails(resume(stopped), 1, "generator toy: fingerprint")
    (stopped / "run.json").write_text(text.replace(str(capture), str(tmp_path / "gone")))
    fails(resume(stopped), 2, "no such folder or zip")
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
