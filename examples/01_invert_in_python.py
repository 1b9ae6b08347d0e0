"""Invert a capture in Python, and render the result from new angles.

`inv3d.invert` is `3dinv run` without the command line: it finds generator and method by name, takes
the steps and returns the tuned generator with the inversion. With `out` it also writes the run
directory with metrics and report.

    python examples/01_invert_in_python.py
    python examples/01_invert_in_python.py --generator minihead --input sample:dynamic --steps 40

OUT then holds `run/`, a run directory, and `orbit.png`, the head from nine new angles.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path

import torch

import inv3d

# the toy is no installed plugin; this registers it for the process
os.environ.setdefault("INV3D_PLUGINS", "generators:toy=inv3d.testing.toy:ToyGenerator")


def write_capture(folder: Path) -> Path:
    """Write nine views of the toy, whose latent moves from view to view, in EG3D's format."""
    capture = inv3d.toy_capture(inv3d.ToyGenerator(inv3d.ToyConfig()), 9, motion=0.3)
    for name, frame in zip(capture.names, inv3d.colour_frames(capture.images), strict=True):
        inv3d.save_png(folder / name, frame)
    inv3d.write_labels(folder / "dataset.json", capture.camera, capture.names)
    return folder


def show(step: inv3d.Progress) -> None:
    """Print every tenth step."""
    if step.step % 10 == 0:
        print(f"{step.stage} {step.step}/{step.steps}  loss {step.losses['total']:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Invert a capture in Python.")
    parser.add_argument("--generator", default="toy")
    parser.add_argument("--input", help="a capture; rendered by the toy if left out")
    parser.add_argument("--steps", type=int, default=20, help="of every stage")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "3dinv-example")
    given = parser.parse_args()

    found = inv3d.invert(
        given.input or write_capture(given.out / "capture"),
        method="multilatent",
        generator=given.generator,
        options={
            "start": {"latent": {"steps": given.steps, "samples": 500}},
            "latent": {"steps": given.steps},
            "tuning": {"steps": given.steps},
        },
        out=given.out / "run",
        overwrite=True,
        pictures=False,
        on_step=show,
    )
    inversion = found.inversion
    print(f"{len(inversion.ws)} latents, {len(inversion.generator_delta)} tuned tensors")

    # each angle has its own latent, interpolated between its neighbours
    yaw = torch.linspace(-math.radians(60), math.radians(60), 9)
    images = found.render(found.generator.spec.camera.orbit(yaw))
    inv3d.save_png(given.out / "orbit.png", inv3d.tile([inv3d.colour_frames(images)]))
    print(f"written: {given.out / 'orbit.png'}")


if __name__ == "__main__":
    main()
