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

import inv3d

os.environ.setdefault("INV3D_PLUGINS", "generators:toy=inv3d.testing.toy:ToyGenerator")


def make_run(folder: Path) -> Path:
    """Invert five of nine views of the toy and hold out the others."""
    capture = inv3d.toy_capture(inv3d.ToyGenerator(inv3d.ToyConfig()), views=9)
    for name, frame in zip(capture.names, inv3d.colour_frames(capture.images), strict=True):
        inv3d.save_png(folder / "capture" / name, frame)
    inv3d.write_labels(folder / "capture" / "dataset.json", capture.camera, capture.names)
    inv3d.invert(
        folder / "capture",
        method="multiview",
        generator="toy",
        options={"latent": {"steps": 40, "samples": 500}, "tuning": {"steps": 20}},
        views=5,
        device="cpu",
        pictures=False,
        out=folder / "run",
        overwrite=True,
    )
    return folder / "run"


def main() -> None:
    parser = argparse.ArgumentParser(description="Render a run directory.")
    parser.add_argument("--run", type=Path, help="a finished run")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "3dinv-example")
    given = parser.parse_args()

    run = inv3d.open_run(given.run or make_run(given.out))
    held_out = inv3d.read_metrics(run.directory)["held_out"]["psnr"]
    print(f"{run.directory}: {run.inversion.method}, {len(run.inversion.ws)} latents")
    print("held out: " + ("none" if held_out is None else f"PSNR {held_out:.2f} dB"))

    # a path of one's own: from low on the subject's right to high on the left
    prior = run.generator.spec.camera
    limit, tilt = math.radians(40), math.radians(15)
    ends = prior.orbit(torch.tensor([-limit, limit]), torch.tensor([-tilt, tilt]))
    camera = inv3d.interpolate(ends[0], ends[1], torch.linspace(0, 1, 7))
    outputs = ("image", "depth", "mask")
    seen = [view for _, view in inv3d.render_views(run.generator, run.inversion, camera, outputs)]
    images, depth, mask = (torch.cat([v.require(name) for v in seen]).cpu() for name in outputs)
    rows = [inv3d.colour_frames(images), inv3d.depth_frames(depth, mask, images.shape[-1])]
    inv3d.save_png(given.out / "path.png", inv3d.tile(rows))
    print(f"written: {given.out / 'path.png'}")


if __name__ == "__main__":
    main()
