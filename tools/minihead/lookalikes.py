"""Measure how like one another near-identical heads look to the identity networks.

    python -m tools.minihead.lookalikes --out inv3d/assets/lookalikes.safetensors

Each person is rendered beside one whose numbers differ a little, by the same cameras, in the same
light, clothes and expression. The cosines of such pairs, sorted, are the scale of loss
`lookalikes`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click
import torch
from rich.progress import track
from torch import Tensor

from inv3d.core.loss import load_loss
from inv3d.core.weights.tensors import write_tensors
from inv3d.plugins.losses.headid import HeadID
from tools.minihead.cameras import FOCAL, RADIUS, orbit
from tools.minihead.heads import Heads
from tools.minihead.identity_data import SIZE, draw_person
from tools.minihead.layout import LAYOUT
from tools.minihead.raster import render
from tools.minihead.seeds import TRAINING, z_of_seed

OWN = 0.2  # share of a lookalike's numbers that isn't the person's
REACH = math.radians(70)
LEVELS = 257  # of the scale
NETWORKS = ("a", "b")


@torch.no_grad()
def pair(heads: Heads, seed: int, views: int) -> Tensor:
    """Return pictures [2, V, 3, R, R] in [-1, 1] of a person and a lookalike."""
    z, yaw, pitch = draw_person(seed, 1, views, REACH)
    other, stranger = z.clone(), z_of_seed(seed + 1)
    for group in ("identity", "appearance"):
        numbers = LAYOUT[group]
        other[:, numbers] = math.sqrt(1 - OWN**2) * z[:, numbers] + OWN * stranger[numbers]
    cameras = orbit(yaw, pitch, RADIUS).expand(2, -1, -1, -1)
    seen = render(heads.build(torch.cat([z, other])), cameras, FOCAL, SIZE, supersample=2)
    return seen["rgb"].clamp(0, 1) * 2 - 1


@torch.no_grad()
def scale(loss: HeadID, pairs: Tensor) -> Tensor:
    """Return the sorted cosines [LEVELS] of pairs [P, 2, V, 3, R, R]."""
    embeddings = torch.cat([loss.network(both.flatten(0, 1)) for both in pairs])
    first, second = embeddings.unflatten(0, (len(pairs), 2, -1)).unbind(1)
    cosines = (first * second).sum(2).flatten()
    return cosines.quantile(torch.linspace(0, 1, LEVELS))


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--people", default=400, show_default=True, help="How many.")
@click.option("--views", default=4, show_default=True, help="Pictures of each.")
def main(out: Path, people: int, views: int) -> None:
    """Write the scale of both networks."""
    heads, seeds = Heads(), range(TRAINING.stop - 2 * people, TRAINING.stop, 2)
    pairs = torch.stack([pair(heads, seed, views) for seed in track(seeds, description="people")])
    found = {}
    for network in NETWORKS:
        loss = load_loss("headid", {"network": network})
        assert isinstance(loss, HeadID)
        found[network] = scale(loss, pairs)
    command = "python -m tools.minihead.lookalikes " + " ".join(sys.argv[1:])
    write_tensors(out, found, {"own": OWN, "people": people, "views": views, "command": command})


if __name__ == "__main__":
    main()
