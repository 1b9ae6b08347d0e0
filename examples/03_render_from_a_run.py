"""Load a run directory and render it from cameras of your own.

A run directory holds everything but the generator: options, latents, and the differences of the
tuned weights. `open_run` builds the generator that `run.json` describes, tunes it, and checks its
fingerprint, so that the pixels are those of the run.

    python examples/03_render_from_a_run.py --run runs/first
    python examples/03_render_from_a_run.py

Without --run a small run of the toy generator is made first, in a folder of its own, through the
same functions that `3dinv run` calls.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path

import torch

from inv3d.core.camera import interpolate
from inv3d.core.device import resolve_device
from inv3d.io.cameras import write_labels
from inv3d.report.pictures import colour_frames, depth_frames, save_png, tile
from inv3d.report.views import render_views
from inv3d.rundir.opening import open_run, read_metrics
from inv3d.runs.display import open_display
from inv3d.runs.execute import start
from inv3d.runs.prepare import Request, prepare
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture

os.environ.setdefault("INV3D_PLUGINS", "generators:toy=inv3d.testing.toy:ToyGenerator")


def write_capture(folder: Path) -> Path:
    """Write nine views of the toy as images with EG3D's dataset.json."""
    capture = toy_capture(ToyGenerator(ToyConfig()), views=9)
    for name, frame in zip(capture.names, colour_frames(capture.images), strict=True):
        save_png(folder / name, frame)
    write_labels(folder / "dataset.json", capture.camera, capture.names)
    return folder


def make_run(folder: Path) -> Path:
    """Invert five of nine views and hold out the others."""
    request = Request(
        method="multiview",
        generator="toy",
        input=str(write_capture(folder / "capture")),
        options={"latent": {"steps": 40, "samples": 500}, "tuning": {"steps": 20}},
        views=5,
        device="cpu",
        pictures=False,
    )
    with open_display() as display:
        prepared = prepare(request)
        directory, _ = start(prepared, folder / "run", display, overwrite=True, command=[__file__])
    return directory.path


def main() -> None:
    parser = argparse.ArgumentParser(description="Render a run directory.")
    parser.add_argument("--run", type=Path, help="a finished run")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "3dinv-example")
    given = parser.parse_args()

    run = open_run(given.run or make_run(given.out), resolve_device("auto"))
    held_out = read_metrics(run.directory)["held_out"]["psnr"]
    print(f"{run.directory}: {run.inversion.method}, {len(run.inversion.ws)} latents")
    print("held out: " + ("none" if held_out is None else f"PSNR {held_out:.2f} dB"))

    # a path of one's own: from low on the subject's right to high on the left
    prior = run.generator.spec.camera
    limit, tilt = math.radians(40), math.radians(15)
    ends = prior.orbit(torch.tensor([-limit, limit]), torch.tensor([-tilt, tilt]))
    camera = interpolate(ends[0], ends[1], torch.linspace(0, 1, 7))
    outputs = ("image", "depth", "mask")
    seen = [view for _, view in render_views(run.generator, run.inversion, camera, outputs)]
    images, depth, mask = (torch.cat([v.require(name) for v in seen]).cpu() for name in outputs)
    rows = [colour_frames(images), depth_frames(depth, mask, images.shape[-1])]
    save_png(given.out / "path.png", tile(rows))
    print(f"written: {given.out / 'path.png'}")


if __name__ == "__main__":
    main()
