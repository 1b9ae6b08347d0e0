"""Invert a capture in Python, step by step, without the command line.

A generator and a method are found by name, as `3dinv run` does it. A method yields one item an
optimisation step, so a loop over `steps()` can show progress, draw pictures or stop; its result can
be asked for at any time. Here 9 known views of the toy generator, which needs no weights, become 5
latents with the views between them interpolated.

    python examples/01_invert_in_python.py
    python examples/01_invert_in_python.py --generator minihead --input sample:dynamic --steps 40

OUT then holds `inversion.safetensors` and `orbit.png`, the head from nine new angles.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path

import torch

from inv3d.core.capture import Capture
from inv3d.core.config import build_config
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import load_method
from inv3d.core.registry.discovery import registry
from inv3d.io.dataset import open_capture
from inv3d.report.pictures import colour_frames, save_png, tile
from inv3d.testing.toy import toy_capture

# the toy is no installed plugin; this registers it for the process
os.environ.setdefault("INV3D_PLUGINS", "generators:toy=inv3d.testing.toy:ToyGenerator")
VIEWS = 9


def load_generator(name: str) -> Generator:
    """Build a generator by name with its default options."""
    kind: type[Generator] = registry().load("generators", name)
    return kind.create(build_config(kind.Config, {}, f"generator {name}"))


def load_views(generator: Generator, source: str | None) -> Capture:
    """Return nine views: of a capture, or rendered from a latent that moves from view to view."""
    if source is None:
        return toy_capture(generator, VIEWS, motion=0.3)
    capture = open_capture(source).load(generator.spec.resolution)
    return capture[capture.choose(VIEWS, "angle")]


def invert(generator: Generator, capture: Capture, steps: int) -> Inversion:
    """Run multi-latent inversion and print every tenth step."""
    options = {
        "start": {"latent": {"steps": steps, "samples": 500}},
        "latent": {"steps": steps},
        "tuning": {"steps": steps},
    }
    context = Context.create("cpu", seed=303)
    method = load_method("multilatent", options, generator)
    for step in method.steps(generator, capture, context):
        if step.step % 10 == 0:
            print(f"{step.stage} {step.step}/{step.steps}  loss {step.losses['total']:.4f}")
    return method.result()


@torch.no_grad()
def render_orbit(generator: Generator, inversion: Inversion, path: Path) -> None:
    """Write a row of pictures from -60 to +60 degrees; each angle has its own latent."""
    yaw = torch.linspace(-math.radians(60), math.radians(60), 9)
    camera = generator.spec.camera.orbit(yaw)
    seen = generator.render(inversion.scene_for(generator, camera), camera)
    save_png(path, tile([colour_frames(seen.require("image"))]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Invert a capture in Python.")
    parser.add_argument("--generator", default="toy")
    parser.add_argument("--input", help="a capture; rendered by the generator if left out")
    parser.add_argument("--steps", type=int, default=20, help="of every stage")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "3dinv-example")
    given = parser.parse_args()

    generator = load_generator(given.generator)
    capture = load_views(generator, given.input)
    inversion = invert(generator, capture, given.steps)
    print(f"{len(inversion.ws)} latents, {len(inversion.generator_delta)} tuned tensors")

    given.out.mkdir(parents=True, exist_ok=True)
    inversion.save(given.out)
    # the generator is tuned in place by the run; a fresh one takes the tuning from the inversion
    fresh, loaded = load_generator(given.generator), Inversion.load(given.out)
    with loaded.tuned(fresh):
        render_orbit(fresh, loaded, given.out / "orbit.png")
    print(f"written: {given.out / 'orbit.png'}")


if __name__ == "__main__":
    main()
