"""Writes captures of rendered heads.

python -m tools.minihead.make_captures write OUT --count 10 --resolution 256
python -m tools.minihead.make_captures sample
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import torch
from rich.progress import track

from tools.minihead.captures import (
    make_capture,
    motion,
    neutral,
    route,
    write_folder,
    write_zip,
)
from tools.minihead.extras import EXTRAS
from tools.minihead.heads import Heads
from tools.minihead.seeds import CAPTURES

ASSETS = Path(__file__).parents[2] / "inv3d" / "assets" / "captures"
SAMPLE_SEED = CAPTURES.start + 27  # long brown hair, green eyes
SAMPLE_FRAMES = 60


@click.group()
def main() -> None:
    """Captures of procedural heads: images, cameras, masks, exact depth."""


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--first-seed", default=CAPTURES.start, show_default=True, help="First identity.")
@click.option("--count", default=1, show_default=True, help="Number of identities.")
@click.option("--views", default=60, show_default=True, help="Views of each identity.")
@click.option("--resolution", default=128, show_default=True, help="Pixels along a side.")
@click.option("--supersample", default=2, show_default=True, help="Subsamples along a pixel side.")
@click.option("--route", "path", default="sweep", type=click.Choice(["sweep", "orbit", "random"]))
@click.option("--yaw-deg", default=70.0, show_default=True, help="Reach of the sweep, degrees.")
@click.option("--dynamic", is_flag=True, help="The face moves from view to view.")
@click.option("--neutral", "calm", is_flag=True, help="A calm face instead of the seed's own.")
@click.option(
    "--extras",
    multiple=True,
    type=click.Choice(EXTRAS),
    help="A detail that no z makes; may be given several times.",
)
@click.option("--mesh", is_flag=True, help="Write the true mesh as PLY as well.")
@click.option("--zip", "zipped", is_flag=True, help="One zip a capture instead of a folder.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
def write(
    out: Path,
    first_seed: int,
    count: int,
    views: int,
    resolution: int,
    supersample: int,
    path: str,
    yaw_deg: float,
    dynamic: bool,
    calm: bool,
    extras: tuple[str, ...],
    mesh: bool,
    zipped: bool,
    device: str,
) -> None:
    """Writes one capture a seed into OUT."""
    if dynamic and calm:
        raise click.UsageError("--dynamic and --neutral exclude each other")
    heads = Heads(device)
    out.mkdir(parents=True, exist_ok=True)
    expression = motion(views) if dynamic else neutral() if calm else None
    for seed in track(range(first_seed, first_seed + count), "captures"):
        cameras = route(path, views, seed, math.radians(yaw_deg))
        capture = make_capture(heads, seed, cameras, resolution, expression, supersample, extras)
        if zipped:
            write_zip(capture, out / f"{seed:07d}.zip", mesh)
        else:
            write_folder(capture, out / f"{seed:07d}", mesh)


@main.command()
@click.option("--out", default=ASSETS, type=click.Path(path_type=Path), show_default=True)
@click.option("--seed", default=SAMPLE_SEED, show_default=True, help="Identity.")
@click.option("--resolution", default=128, show_default=True, help="Pixels along a side.")
def sample(out: Path, seed: int, resolution: int) -> None:
    """Writes the shipped captures: dynamic.zip and its still twin static.zip."""
    heads = Heads("cpu")
    out.mkdir(parents=True, exist_ok=True)
    cameras = route("sweep", SAMPLE_FRAMES, seed)
    for name, expression in (("dynamic", motion(SAMPLE_FRAMES)), ("static", neutral())):
        capture = make_capture(heads, seed, cameras, resolution, expression)
        write_zip(capture, out / f"{name}.zip")
        click.echo(f"{out / name}.zip: {(out / f'{name}.zip').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
