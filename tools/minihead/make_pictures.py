"""Writes what `make_pool` rendered as pictures for `3dinv train`, with their true latents.

python -m tools.minihead.make_pictures out/pool/a out/pool/pairs out/heads.zip --yaw-deg 60

The heads are those of TRAINING seeds: no evaluation or capture shows one of them.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import zipfile
from pathlib import Path

import click
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from inv3d.core.generator import load_generator
from inv3d.core.weights.tensors import read_tensors
from inv3d.train.latents import LATENTS, write_known_latents
from tools.minihead.cameras import FOCAL
from tools.minihead.captures import label


@click.command()
@click.argument("pools", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--yaw-deg", default=60.0, show_default=True, help="Farthest from the front.")
def main(pools: tuple[Path, ...], out: Path, yaw_deg: float) -> None:
    """Write the pictures of POOLS into the zip OUT."""
    generator = load_generator("minihead")
    labels: list[tuple[str, list[float]]] = []
    latents: list[Tensor] = []
    shards = [path for pool in pools for path in sorted(pool.glob("*.safetensors"))]
    if not shards:
        raise click.UsageError(f"{pools[0]}: no files of make_pool there")
    with tempfile.TemporaryDirectory(dir=out.parent) as place:
        partial = Path(place) / out.name
        with zipfile.ZipFile(partial, "w") as archive:
            for path in track(shards, "pictures"):
                shard = read_tensors(path)[0]
                with torch.no_grad():
                    ws = generator.map(shard["z"])
                for head, view in chosen(shard, math.radians(yaw_deg)):
                    name = f"{len(labels):06d}.png"
                    archive.writestr(name, png(shard["rgb"][head, view]))
                    labels.append((name, label(shard["cam2world"][head, view])))
                    latents.append(ws[head, :1])
            archive.writestr("dataset.json", json.dumps({"labels": labels}))
            names, known = [name for name, _ in labels], Path(place) / LATENTS
            write_known_latents(known, torch.stack(latents), names, str(generator.spec.fingerprint))
            archive.write(known, LATENTS)
        partial.rename(out)


def chosen(shard: dict[str, Tensor], yaw: float) -> list[list[int]]:
    """Return head and view of all pictures within some yaw of the front that aren't close-ups."""
    place = shard["cam2world"][..., :3, 3]
    whole = (shard["focal"] - FOCAL).abs() < 1e-3
    return (whole & (torch.atan2(place[..., 0], place[..., 2]).abs() <= yaw)).nonzero().tolist()


def png(levels: Tensor) -> bytes:
    """Return a picture [3, R, R] of bytes as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
