"""Draw contact sheets of the trained generator: samples, truncation, ways, turntables, factors.

python -m tools.minihead.contact_sheet --out docs/images
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import torch
from PIL import Image
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.generator import Generator
from tools.minihead.evaluate import CHANGES, MEN, load, photograph, to_picture
from tools.minihead.heads import Heads
from tools.minihead.layout import NAMES
from tools.minihead.network import NAME

TRUNCATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


def grid(rows: list[Tensor]) -> Image.Image:
    """Return a picture of rows [C, 3, H, W] of the same length."""
    return to_picture(torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1))


def views(generator: Generator, ws: Tensor, camera: Camera) -> Tensor:
    """Render every latent [B, num_ws, w_dim] from every camera, [B, V, 3, H, W]."""
    rows = []
    for latent in ws:
        scene = generator.synthesize(latent[None])
        rows.append(generator.render(scene, camera).require("image"))
    return torch.stack(rows)


def samples(generator: Generator, rng: torch.Generator) -> list[Tensor]:
    """Thirty random heads from three quarters, front and behind."""
    z = torch.randn(10, generator.spec.z_dim, generator=rng)
    camera = generator.spec.camera.orbit(torch.tensor([0.0, 0.7, -1.4]))
    return list(views(generator, generator.map(z), camera).transpose(0, 1))


def truncations(generator: Generator, rng: torch.Generator) -> list[Tensor]:
    """Four heads, from the mean latent to the full one."""
    z = torch.randn(4, generator.spec.z_dim, generator=rng)
    camera = generator.spec.camera.orbit(torch.tensor([0.3]))
    columns = [views(generator, generator.map(z, truncation=t), camera)[:, 0] for t in TRUNCATIONS]
    return list(torch.stack(columns, dim=1))


def interpolations(generator: Generator, rng: torch.Generator, steps: int = 8) -> list[Tensor]:
    """Three ways from one head to another."""
    z = torch.randn(2, 3, generator.spec.z_dim, generator=rng)
    camera = generator.spec.camera.orbit(torch.tensor([-0.4]))
    rows = []
    for first, second in zip(*(generator.map(end) for end in z), strict=True):
        t = torch.linspace(0, 1, steps)[:, None, None]
        rows.append(views(generator, torch.lerp(first, second, t), camera)[:, 0])
    return rows


def turntables(generator: Generator, rng: torch.Generator, steps: int = 8) -> list[Tensor]:
    """Five heads from all around."""
    z = torch.randn(5, generator.spec.z_dim, generator=rng)
    camera = generator.spec.camera.orbit(torch.arange(steps) * (2 * math.pi / steps))
    return list(views(generator, generator.map(z), camera))


def factors(generator: Generator, rng: torch.Generator, steps: int = 4) -> list[Tensor]:
    """What z's own factors change, one a row: generated, and beside it the true renderings."""
    heads, rows = Heads(), []
    for name, (low, high) in CHANGES.items():
        z = torch.randn(1, generator.spec.z_dim, generator=rng).repeat(steps, 1)
        if name in MEN:
            z[:, NAMES["gender"]], z[:, NAMES["age"]] = -1.5, 1.0
        z[:, NAMES[name].start] = torch.linspace(low, high, steps)
        truth = [photograph(heads.build(row[None]), [(0.2, 0.05)], 128) for row in z]
        camera = Camera.cat([capture.camera for capture in truth])
        made = generator.render(generator.synthesize(generator.map(z)), camera).require("image")
        rows.append(torch.cat([made, *(capture.images for capture in truth)]))
    return rows


SHEETS = {
    "samples": samples,
    "truncation": truncations,
    "interpolation": interpolations,
    "turntable": turntables,
    "factors": factors,
}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--weights", type=click.Path(path_type=Path), help="Instead of the embedded ones.")
@click.option("--seed", default=5, show_default=True, help="Draws the heads.")
@torch.no_grad()
def main(out: Path, weights: Path | None, seed: int) -> None:
    """Write minihead-SHEET.png for every sheet."""
    out.mkdir(parents=True, exist_ok=True)
    generator = load(NAME, weights)
    for name, draw in SHEETS.items():
        path = out / f"{NAME}-{name}.png"
        grid(draw(generator, torch.Generator().manual_seed(seed))).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
