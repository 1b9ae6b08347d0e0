"""Draw what the embedded encoders make of pictures of heads that no training has shown.

python -m tools.minihead.encoder_sheet out/captures out/orbits --out docs/images
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.config import build_config
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator, load_generator
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import load_method
from inv3d.io.dataset import open_capture
from inv3d.plugins.methods.dualencoder import make_encoders, unpublished
from inv3d.plugins.methods.encoders.branches import plane_channels
from inv3d.plugins.methods.encoders.options import DualEncoderConfig
from inv3d.plugins.methods.encoders.reading import read_networks
from inv3d.report.views import render_views
from tools.minihead.contact_sheet import grid

METHODS = ("psp", "e4e", "triplanenet", "dualencoder")
TURN = 0.6
HEADS, TWO, YAW = 9, 2, 0.3


def found(generator: Generator, picture: Capture, method: str) -> Inversion:
    """Return what a method makes of one picture."""
    return load_method(method, {}, generator).invert(generator, picture, Context.create("cpu", 303))


def seen(generator: Generator, inversion: Inversion, yaws: list[float]) -> Tensor:
    """Render an inversion from angles around its own camera, [N, 3, H, W]."""
    camera = inversion.cameras[0]
    turned = torch.tensor(yaws) + camera.yaw
    cameras = generator.spec.camera.orbit(turned, camera.pitch.expand(len(yaws)))
    parts = render_views(generator, inversion, cameras)
    return torch.cat([part.require("image") for _, part in parts])


def methods_sheet(generator: Generator, pictures: list[Capture]) -> list[Tensor]:
    """Return rows: the pictures, then for each method the same view and one from the side."""
    rows = [torch.cat([picture.images for picture in pictures])]
    for method in METHODS:
        pairs = [
            seen(generator, found(generator, picture, method), [0.0, TURN]) for picture in pictures
        ]
        rows += list(torch.stack(pairs, 1))
    return rows


def dual_sheet(generator: Generator, picture: Capture, around: Capture) -> list[Tensor]:
    """Return rows from all around: picture and true head, encoder 1, encoder 2, stitched."""
    context = Context.create("cpu", 303)
    config = build_config(
        DualEncoderConfig, generator.method_options["dualencoder"], "method dualencoder"
    )
    channels = plane_channels(generator)
    ready = read_networks(
        "dualencoder",
        config,
        generator,
        [context],
        lambda options: make_encoders(options, generator.spec, channels),
        unpublished,
    )
    made = ready.network(generator, picture.images, picture.camera, ready.average)
    rows = [torch.cat([picture.images, around.images])]
    blank = torch.ones_like(picture.images)
    for scene in (made.first, made.second, made.scene):
        images = generator.render(scene, around.camera).require("image")
        rows.append(torch.cat([blank, images]))
    return rows


@click.command()
@click.argument("captures", type=click.Path(path_type=Path))
@click.argument("orbits", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@torch.no_grad()
def main(captures: Path, orbits: Path, out: Path) -> None:
    """Draw sheets of the first heads of CAPTURES, which ORBITS has from all around."""
    generator = load_generator("minihead")
    size = generator.spec.resolution
    files = sorted(captures.glob("*.zip"))[:HEADS]
    pictures = []
    for path in files:
        opened = open_capture(path)
        pictures.append(opened.load(size, [int((opened.camera.yaw - YAW).abs().argmin())]))
    around = [open_capture(orbits / path.name).load(size) for path in files[:TWO]]
    pairs = zip(pictures, around, strict=False)
    sheets = {
        "encoders": methods_sheet(generator, pictures),
        "dualencoder": [row for pair in pairs for row in dual_sheet(generator, *pair)],
    }
    for name, rows in sheets.items():
        grid(rows).save(out / f"{name}.jpg", quality=92)


if __name__ == "__main__":
    main()
