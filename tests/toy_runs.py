"""Small inversions of the toy generator, for the tests of reports and commands."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.files import write_json
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Made, Snapshot
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import Rendering, Scene
from inv3d.io.cameras import write_labels
from inv3d.io.dataset import open_capture
from inv3d.report.pictures import colour_frames, save_png
from inv3d.rundir.frames import describe_input, load_frames
from inv3d.runs.finish import finish_run
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents

CPU = torch.device("cpu")
PLUGIN = "generators:toy=inv3d.testing.toy:ToyGenerator"
JUDGES = {"perceptual": "l1", "identity": "mse"}


@contextmanager
def toy_registered(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the registry know the toy generator."""
    patch.setenv("INV3D_PLUGINS", PLUGIN)
    registry.cache_clear()
    yield
    registry.cache_clear()


OPTIONS = {"latent": {"steps": 30, "lr": 0.1}, "note": "<b>not bold</b>"}


@dataclass(frozen=True)
class Case:
    """A generator, a capture of it, and an inversion of that capture."""

    generator: ToyGenerator
    capture: Capture
    inversion: Inversion
    chosen: list[int]
    held_out: list[int]


def toy_case(
    views: int = 7,
    *,
    latents: int = 1,
    motion: float = 0.0,
    error: float = 0.0,
    judges: Mapping[str, str] = JUDGES,
) -> Case:
    """Return an inversion that is right up to an error.

    Args:
        views: of the capture, every second one chosen.
        latents: 1, or the number of chosen views.
        motion: of the capture, see `toy_capture`.
        error: standard deviation of what is added to the true latents.
        judges: perceptual and identity metrics that the generator names.
    """
    generator = ToyGenerator(ToyConfig())
    generator.spec = replace(generator.spec, metrics=judges)
    capture = toy_capture(generator, views, motion=motion)
    chosen = list(range(0, views, 2))
    held_out = list(range(1, views, 2))
    rows = chosen if latents > 1 else [capture.front()]
    ws = toy_latents(generator, views, motion=motion)[rows]
    rng = torch.Generator().manual_seed(1)
    ws = ws + error * torch.randn(ws.shape, generator=rng)
    inversion = Inversion(
        ws=ws,
        cameras=capture.camera[rows],
        generator="toy",
        fingerprint=generator.spec.fingerprint,
        history=(Made("method", "multilatent" if latents > 1 else "wplus", None, OPTIONS),),
    )
    return Case(generator, capture, inversion, chosen, held_out)


class FlatToy(ToyGenerator):
    """The toy, as a generator that makes pictures alone: no depth, no mask, no density."""

    api = "1.0"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.spec = replace(self.spec, outputs=("image", "raw"), density=False)

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        """Render, and see that nothing else is asked for."""
        assert set(options.get("outputs", ())) <= set(self.spec.outputs)
        return super().render(scene, camera, **options)

    def sample(self, scene: Scene, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuse, as generators without density do."""
        return Generator.sample(self, scene, points)


def flattened(case: Case) -> Case:
    """Return the case with a generator that makes the same pictures, and nothing else."""
    flat = FlatToy(ToyConfig())
    flat.spec = replace(flat.spec, metrics=case.generator.spec.metrics)
    return replace(case, generator=flat)


def tuned(case: Case, change: float = 0.004) -> Case:
    """Return the case with a generator that was changed a little, and the delta that says so."""
    original = Snapshot(case.generator)
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in case.generator.parameters():
            parameter += change * torch.randn(parameter.shape, generator=rng)
    original.settle()
    return replace(case, inversion=replace(case.inversion, generator_delta=original.delta()))


def write_capture(capture: Capture, folder: Path, scale: float = 1e-4) -> Path:
    """Write a capture as a folder with dataset.json, images and depth."""
    for name, frame in zip(capture.names, colour_frames(capture.images), strict=True):
        save_png(folder / name, frame)
    write_labels(folder / "dataset.json", capture.camera, capture.names)
    if capture.depths is not None:
        (folder / "depth").mkdir()
        write_json(folder / "depth.json", {"scale": scale, "kind": "ray"})
        for name, depth in zip(capture.names, capture.depths[:, 0].numpy(), strict=True):
            counts = np.round(depth / scale).astype(np.uint16)
            Image.fromarray(counts).save(folder / "depth" / name)
    return folder


def write_log(path: Path, stages: Mapping[str, int]) -> None:
    """Write a step log whose losses fall and level off."""
    with path.open("w") as file:
        for stage, steps in stages.items():
            for step in range(steps):
                total = 0.1 + math.exp(-8 * step / steps)
                losses = {"mse": total / 2, "l1": total / 3, "total": total}
                row = {"stage": stage, "step": step, "steps": steps, "losses": losses}
                file.write(json.dumps({**row, "lr": 0.1, "seconds": 0.01}) + "\n")


def toy_generator(fingerprint: str, **changes: Any) -> dict[str, Any]:
    """What run.json says of the toy generator."""
    said = {"name": "toy", "options": {}, "weights": None, "fingerprint": fingerprint}
    return said | changes


def write_run(case: Case, directory: Path, source: Path, **changes: Any) -> Path:
    """Write what `3dinv run` leaves before its ending: run.json, inversion, log.

    Args:
        case: whose inversion.
        directory: of the run.
        source: the capture on disk.
        changes: of run.json.
    """
    directory.mkdir(parents=True)
    case.inversion.save(directory)
    write_log(directory / "steps.jsonl", {"latent": 60, "tuning": 60})
    resolution = case.generator.spec.resolution
    frames = load_frames(open_capture(source), case.capture.names, resolution)
    inputs = describe_input(str(source), frames, case.chosen, case.held_out)
    record = {
        "method": {"name": case.inversion.method, "preset": "fast"},
        "generator": toy_generator(case.inversion.fingerprint),
        "config": dict(case.inversion.history[-1].options),
        "input": inputs.model_dump(mode="json"),
        "seed": 303,
        "device": "cpu",
        "seconds": {"latent": 1.5, "tuning": 2.0},
        "status": "finished",
        "versions": {"3dinv": "0.1.0"},
        "warnings": [],
    }
    write_json(directory / "run.json", record | changes)
    return directory


def finish(case: Case, directory: Path, source: Path, *, pictures: bool = False) -> dict[str, Any]:
    """Finish a run as `3dinv run` does, on the capture as it's read from disk."""
    return finish_run(
        directory,
        case.generator,
        case.inversion,
        open_capture(source).load(case.generator.spec.resolution),
        case.chosen,
        case.held_out,
        device=CPU,
        seconds={"latent": 1.5, "tuning": 2.0},
        pictures=pictures,
        on_progress=lambda text: None,
    )
