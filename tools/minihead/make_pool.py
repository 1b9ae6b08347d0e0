"""Render training heads into files, for machines whose processor can't render while it trains.

python -m tools.minihead.make_pool --out out/pool/a --heads 5000 --views 5 --seed 1
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from rich.progress import track

from inv3d.core.weights.tensors import write_tensors
from tools.minihead.heads import Heads
from tools.minihead.pool import SIZE, Pool
from tools.minihead.seeds import TRAINING

SHARD = 250
STRIDE = 1_000_003  # between the seeds of two pools


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--heads", default=5000, show_default=True, help="How many heads.")
@click.option("--views", default=5, show_default=True, help="Pictures of each.")
@click.option("--supersample", default=2, show_default=True, help="Subsamples a pixel and axis.")
@click.option("--pairs", is_flag=True, help="Twice each person, one small factor apart.")
@click.option(
    "--seed",
    type=click.IntRange(0, 4000),
    default=1,
    show_default=True,
    help="Draws heads and cameras.",
)
def main(out: Path, heads: int, views: int, supersample: int, pairs: bool, seed: int) -> None:
    """Write shards of 250 heads; shards that are there already are kept."""
    model = Heads("cpu")
    for shard in track(range(0, heads, SHARD), description="heads"):
        path = out / f"{shard:06d}.safetensors"
        if path.exists():
            continue
        rng = torch.Generator().manual_seed(TRAINING[seed * STRIDE + shard])
        pool = Pool(model, SHARD, views, SIZE, rng, supersample, pairs)
        while pool.filled < SHARD:
            pool.add(10)
        write_tensors(
            path, pool.tensors(), {"seed": seed, "supersample": supersample, "pairs": pairs}
        )


if __name__ == "__main__":
    main()
