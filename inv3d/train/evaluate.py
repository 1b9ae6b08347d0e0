"""How well networks do on pictures that they weren't trained with."""

from __future__ import annotations

from torch import Tensor

from inv3d.train.feed import on_device
from inv3d.train.prepare import PreparedTraining

Grids = dict[str, dict[str, Tensor]]


def evaluate(prepared: PreparedTraining) -> tuple[dict[str, float], Grids]:
    """Return numbers, and pictures on the CPU: source -> title -> [N, 3, H, W].

    Numbers of several sources are called SOURCE: NAME.
    """
    values: dict[str, float] = {}
    grids: Grids = {}
    trainer = prepared.trainer
    for source in prepared.sources:
        batch = on_device(source.held_out(), trainer.device)
        found = trainer.check(batch)
        before = f"{source.name}: " if len(prepared.sources) > 1 else ""
        values |= {f"{before}{n}": float(v.float().mean()) for n, v in found.values.items()}
        rows = {"held-out pictures": batch.capture.images} | dict(found.pictures)
        grids[source.name] = {title: images.float().cpu() for title, images in rows.items()}
    return values, grids
