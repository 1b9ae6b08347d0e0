"""Fit single pictures of held-out heads: the true z, W, W+ and PTI, in the picture and turned.

    python -m tools.minihead.testbed out/testbed --heads 8
    python -m tools.minihead.testbed out/testbed --heads 8 --extras

Heads may carry details that no z makes, whose pixels are judged apart. A row is a head and a way of
fitting it; rows that are there stay.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import click
import torch
from rich.progress import track
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.files import write_json
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inverter import load_method
from inv3d.report.views import render_views
from tools.minihead.contact_sheet import grid
from tools.minihead.evaluate import load, photograph, psnr
from tools.minihead.extras import EXTRAS, add_extras
from tools.minihead.heads import Heads
from tools.minihead.network import NAME
from tools.minihead.seeds import EVALUATION, z_of_seed

FITTED = 0.1  # yaw of the picture, radians
TURNED = (0.5, -0.5, 1.0, -1.0, 1.5, 2.8)
COLUMNS = {
    "fitted": (FITTED,),
    "±0.5": (0.5, -0.5),
    "±1.0": (1.0, -1.0),
    "1.5": (1.5,),
    "2.8": (2.8,),
}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "W": ("wplus", {"latent": {"space": "w"}}),
    "W+": ("wplus", {}),
    "PTI": ("pti", {}),
}
TRUE = "true z"
CHANGED = 0.1  # difference of a pixel, of 2, from which on it belongs to the extras


def looks() -> list[tuple[float, float]]:
    """Yaw and pitch of the picture and of the views around it."""
    return [(yaw, 0.0) for yaw in (FITTED, *TURNED)]


def seen_of(generator: Generator, truth: Capture, way: str, z: Tensor) -> Tensor:
    """Fit the first view of a capture and return pictures [V, 3, R, R] of all."""
    if way == TRUE:
        scene = generator.synthesize(generator.map(z))
        return generator.render(scene, truth.camera).require("image")
    name, options = WAYS[way]
    context = Context.create(seed=303)
    found = load_method(name, options, generator).invert(generator, truth[[0]], context)
    views = render_views(generator, found, truth.camera)
    return torch.cat([one.require("image") for _, one in views])


def judge(seen: Tensor, truth: Capture, plain: Capture) -> dict[str, float]:
    """Return decibels by yaw, of whole pictures and of pixels that the extras change."""
    yaws = (FITTED, *TURNED)
    found = {f"psnr@{yaw}": float(v) for yaw, v in zip(yaws, psnr(seen, truth.images), strict=True)}
    changed = (truth.images - plain.images).abs().amax(1) > CHANGED
    error = ((seen.clamp(-1, 1) - truth.images) / 2).square().mean(1)
    for yaw, where, values in zip(yaws, changed, error, strict=True):
        if where.any():
            found[f"extras@{yaw}"] = -10 * math.log10(float(values[where].mean()))
    return found


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Read all rows."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]


def table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table of means over heads: a row a way, decibels."""
    kinds = ("psnr", "extras") if any("extras@1.0" in row for row in rows) else ("psnr",)
    heads = [f"{'' if kind == 'psnr' else 'extras, '}{name}" for kind in kinds for name in COLUMNS]
    lines = [f"| | heads | {' | '.join(heads)} |", "|" + " --- |" * (len(heads) + 2)]
    for way in (TRUE, *WAYS):
        mine = [row for row in rows if row["way"] == way]
        cells = []
        for kind in kinds:
            for yaws in COLUMNS.values():
                keys = [f"{kind}@{yaw}" for yaw in yaws]
                values = [row[key] for row in mine for key in keys if key in row]
                cells.append(f"{statistics.fmean(values):.1f}" if values else "")
        lines.append(f"| {way} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--heads", default=8, show_default=True, help="Held-out heads.")
@click.option("--extras", is_flag=True, help="With all details that no z makes.")
@click.option("--weights", type=click.Path(path_type=Path), help="Instead of the embedded ones.")
def main(out: Path, heads: int, extras: bool, weights: Path | None) -> None:
    """Measure what OUT doesn't hold yet, and print the table of all."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    maker = Heads()
    for seed in track(range(EVALUATION.start, EVALUATION.start + heads), description="heads"):
        z = z_of_seed(seed)[None]
        head = maker.build(z)
        plain = photograph(head, looks(), 128)
        truth = photograph(add_extras(head, EXTRAS), looks(), 128) if extras else plain
        shown = [truth.images]
        for way in (TRUE, *WAYS):
            path = out / f"{seed}-{way.replace(' ', '-')}.json"
            if path.exists():
                continue
            with torch.no_grad():
                generator = load(NAME, weights)
            seen = seen_of(generator, truth, way, z).detach()
            shown.append(seen)
            write_json(path, {"seed": seed, "way": way, **judge(seen, truth, plain)})
        if len(shown) > 1:
            grid(shown).save(out / f"{seed}.png", optimize=True)
    click.echo(table(rows_of(out)))


if __name__ == "__main__":
    main()
