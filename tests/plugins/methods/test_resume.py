"""Runs that are stopped or killed go on to exactly the inversion that they would have made."""

from __future__ import annotations

import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from inv3d.core.camera import Camera
from inv3d.core.errors import InterruptedRun
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.inversion import FILE, Inversion
from inv3d.core.scene import Rendering, Scene
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.children import WARM, outcome, started
from tests.toy_fits import Watched, method, same, take

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
    "hfgi3d": {
        "coarse": {"latent": {**LATENT, "noise_maps": 1e-3}, "tuning": {"steps": 2}},
        "path": {"views": 3},
        "occluded": {"source": "latent", "theta": 1.0, "latent": {**LATENT, "steps": 2}},
        "final": {"steps": 4, "latent_lr": 1e-3, "form": "separate", "views_per_step": 2},
    },
    "spi": {
        "prior": {"front": 0.0},
        "latent": {**LATENT, "noise_maps": 1e-3, "keep": "best"},
        "tuning": {"steps": 5, "every": 2, "batch": 2},
    },
    "poseopt": {
        "pose": {"estimator": "none", "warmup": 1},
        "starts": {"steps": 2, "yaws": 4, "pitches": 1, "count": 2},
        "latent": {**LATENT, "noise_maps": 1e-3, "keep": "best"},
        "tuning": {"steps": 2},
    },
}
STEPS = {
    "wplus": 4,
    "pti": 7,
    "multiview": 7,
    "multilatent": 12,
    "hfgi3d": 12,
    "spi": 9,
    "poseopt": 8,
}
# a few views a step, line searches, ramps: a name before the comma is that of the method
_SEARCH = {**LATENT, "optimizer": "lbfgs"}
_RAMP = {"steps": 4, "rampup": 0.7, "rampdown": 0.5, "keep": "best"}
_MUON = {**_RAMP, "optimizer": "muon"}
OPTIONS |= {
    "wplus, all views": {"views": "all", "views_per_step": 2, "latent": {**LATENT, "keep": "best"}},
    "pti, search": {"latent": _SEARCH, "tuning": _RAMP},
    "multiview, turns": {
        "views_per_step": 2,
        "latent": {**LATENT, "noise_per_view": True},
        "tuning": _RAMP,
    },
    "multiview, search": {"views_per_step": 3, "latent": _SEARCH, "tuning": _MUON},
    "multiview, cameras": {
        "views_per_step": 2,
        "latent": LATENT,
        "cameras": {"steps": 3},
        "tuning": {"steps": 2},
    },
    "poseopt, in turn": {
        "pose": {"estimator": "none", "warmup": 1, "form": "sixd"},
        "starts": {"steps": 0, "yaws": 4, "pitches": 1},
        "latent": {**LATENT, "update": "alternate"},
        "tuning": {"steps": 1},
    },
    "multilatent, turns": {
        "views_per_step": 2,
        "start": {"views_per_step": 2, "latent": LATENT},
        "latent": {"steps": 4, "keep": "best"},
        "tuning": _MUON,
    },
    "multilatent, cameras": {
        "start": {"latent": {**LATENT, "steps": 2}, "cameras": {"steps": 2}, "views": None},
        "latent": {"steps": 2},
        "tuning": {"steps": 1},
    },
    "multilatent, exact turns": {
        "views_per_step": 2,
        "depth_form": "exact",
        "start_from": "mean",
        "latent": {"steps": 3},
        "tuning": _RAMP,
    },
    "multilatent, search": {
        "depth_form": "exact",
        "start": {"latent": _SEARCH},
        "latent": {"optimizer": "lbfgs", "steps": 3},
        "tuning": {"steps": 2},
    },
}
STEPS |= {
    "wplus, all views": 4,
    "pti, search": 8,
    "multiview, turns": 8,
    "multiview, search": 8,
    "multiview, cameras": 9,
    "poseopt, in turn": 5,
    "multilatent, turns": 12,
    "multilatent, cameras": 7,
    "multilatent, exact turns": 7,
    "multilatent, search": 9,
}
CASES = [(name, step) for name in STEPS for step in range(1, STEPS[name] + 1)]


def _run(
    name: str,
    checkpoint: Path | None,
    *,
    every: int = 100,
    stop_at: int = 0,
    resume: bool = False,
    generator: ToyGenerator | None = None,
) -> Inversion:
    """Run with random rays, and from the checkpoint on where wanted."""
    context = Context.create(seed=7, checkpoint=checkpoint, every=every)
    generator = generator or Watched(sampling="stochastic")
    if resume:
        context.state.restore()
    inverter = method(name.partition(",")[0], OPTIONS[name])

    def stop(_: Progress) -> None:
        context.state.stop_requested = context.state.taken == stop_at

    inversion = take(inverter.steps(generator, CLIP, context), stop)
    assert context.state.taken == STEPS[name]
    return inversion


WHOLE = {name: _run(name, None) for name in STEPS}


@pytest.mark.parametrize(("name", "step"), CASES)
def test_stopped_after_any_step_of_any_stage(tmp_path: Path, name: str, step: int) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(InterruptedRun):
        _run(name, checkpoint, stop_at=step)
    assert same(_run(name, checkpoint, resume=True), WHOLE[name])


class Dying(Watched):
    """A generator whose n-th rendering is the last thing that its run does."""

    def __init__(self, fatal: int) -> None:
        super().__init__(sampling="stochastic")
        self.fatal = fatal

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        if len(self.views) == self.fatal:
            raise Killed
        return super().render(scene, camera, **options)


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.mark.parametrize("name", STEPS)
def test_killed_in_the_middle_of_any_step(tmp_path: Path, name: str) -> None:
    """Between two updates, between two views of one, before and after the first checkpoint."""
    undisturbed = Dying(fatal=-1)
    _run(name, None, generator=undisturbed)
    saved = []
    for fatal in range(len(undisturbed.views)):
        checkpoint = tmp_path / f"{fatal}.safetensors"
        with pytest.raises(Killed):
            _run(name, checkpoint, every=2, generator=Dying(fatal))
        saved.append(checkpoint.exists())
        assert same(_run(name, checkpoint, resume=saved[-1]), WHOLE[name]), fatal
    assert not saved[0] and saved[-1]


def _invert(folder: Path, steps: Connection | None) -> None:
    """Go on with a run in a folder; tell the steps that are behind it and wait at the last one."""
    context = Context.create(seed=7, checkpoint=folder / "checkpoint.safetensors", every=2)
    if (folder / "checkpoint.safetensors").exists():
        context.state.restore()

    def tell(_: Progress) -> None:
        if steps is not None:
            steps.send(context.state.taken)
            if context.state.taken == STEPS["multilatent"]:
                threading.Event().wait()

    inverter = method("multilatent", OPTIONS["multilatent"])
    take(inverter.steps(Watched(sampling="stochastic"), CLIP, context), tell).save(folder)


def test_a_killed_process_gives_the_identical_file(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # all of them in children, which have one thread: another number adds in another order
    assert outcome(_invert, whole, None).error is None
    told, steps = WARM.Pipe(duplex=False)
    process = started(_invert, killed, steps)
    steps.close()
    while told.recv() < STEPS["multilatent"]:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (killed / "checkpoint.safetensors").exists() and not (killed / FILE).exists()
    assert outcome(_invert, killed, None).error is None
    assert (killed / FILE).read_bytes() == (whole / FILE).read_bytes()
