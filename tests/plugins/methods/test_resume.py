"""Runs that are stopped or killed go on to exactly the inversion that they would have made."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from inv3d.core.errors import InterruptedRun
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.inversion import FILE, Inversion
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.toy_fits import METHODS, Watched, method, same, take

ROOT = Path(__file__).resolve().parents[3]
CLIP = toy_capture(ToyGenerator(ToyConfig()), 5, seed=5, motion=0.3)
LATENT = {"steps": 4, "samples": 100}
OPTIONS: dict[str, dict[str, Any]] = {
    "wplus": {"latent": {**LATENT, "noise_maps": 1e-3, "keep": "best"}},
    "pti": {
        "latent": {**LATENT, "noise_maps": 1e-3},
        "tuning": {"steps": 3, "locality": 0.1, "locality_distance": 1.0, "keep": "best"},
    },
    "multiview": {"latent": {**LATENT, "noise_per_view": True}, "tuning": {"steps": 3}},
    "multilatent": {
        "start": {"latent": LATENT, "tuning": {"steps": 2}},
        "latent": {"steps": 3},
        "tuning": {"steps": 3},
    },
}
STEPS = {"wplus": 4, "pti": 7, "multiview": 7, "multilatent": 12}
CASES = [(name, step) for name in METHODS for step in range(1, STEPS[name] + 1)]


def _run(
    name: str, checkpoint: Path | None, *, stop_at: int = 0, resume: bool = False
) -> Inversion:
    """Run with random rays, and from the checkpoint on where wanted."""
    context = Context.create(seed=7, checkpoint=checkpoint, every=100)
    if resume:
        context.state.restore()
    inverter = method(name, OPTIONS[name])

    def stop(_: Progress) -> None:
        context.state.stop_requested = context.state.taken == stop_at

    steps = inverter.steps(Watched(sampling="stochastic"), CLIP, context)
    inversion = take(steps, stop)
    assert context.state.taken == STEPS[name]
    return inversion


WHOLE = {name: _run(name, None) for name in METHODS}


@pytest.mark.parametrize(("name", "step"), CASES)
def test_stopped_after_any_step_of_any_stage(tmp_path: Path, name: str, step: int) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(InterruptedRun):
        _run(name, checkpoint, stop_at=step)
    assert same(_run(name, checkpoint, resume=True), WHOLE[name])


SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from inv3d.core.fit.context import Context
from inv3d.core.inverter import load_method
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture

folder = Path(sys.argv[1])
capture = toy_capture(ToyGenerator(ToyConfig()), 5, seed=5, motion=0.3)
generator = ToyGenerator(ToyConfig(sampling="stochastic"))
context = Context.create(seed=7, checkpoint=folder / "checkpoint.safetensors", every=4)
if context.state.checkpoint.exists():
    context.state.restore()
method = load_method("multilatent", {
    "start": {"latent": {"steps": 60, "samples": 200}, "tuning": {"steps": 10}},
    "latent": {"steps": 60}, "tuning": {"steps": 60},
}, generator)
print(context.state.taken, flush=True)
steps = method.steps(generator, capture, context)
while True:
    try:
        next(steps)
    except StopIteration as end:
        end.value.save(folder)
        break
    print(context.state.taken, flush=True)
"""


def _start(folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def _kill_after(process: subprocess.Popen[str], steps: int, delay: float) -> int:
    """Kill a run somewhere in or after a number of its steps; return where it had begun."""
    assert process.stdout is not None
    begin = int(process.stdout.readline())
    for _ in range(steps):
        process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return begin


@pytest.mark.slow
def test_killed_at_random_steps_gives_the_identical_file(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _finish(_start(whole))
    dice = random.Random(1)
    begins = [
        _kill_after(_start(killed), dice.randrange(15, 60), dice.uniform(0, 0.02)) for _ in range(3)
    ]
    assert begins[0] == 0 < begins[1] and begins == sorted(begins)
    _finish(_start(killed))
    assert (killed / FILE).read_bytes() == (whole / FILE).read_bytes()
