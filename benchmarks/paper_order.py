"""The order of the methods in the multi-view inversion paper, table 1 and 2, on a capture.

    python benchmarks/paper_order.py --out runs/order

Inverts one capture with every row of the paper's tables, measures all frames, prints one table
and says for each expected order whether it holds. The multi-latent rows start from the latent of
the multi-view row, as in the paper; the generator starts untuned. All rows tune for the same number
of steps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

PROGRAM = (sys.executable, "-m", "inv3d")
START = "multiview-9"
STEPS = ("latent.steps=80", "tuning.steps=100")  # of the rows with many latents


@dataclass(frozen=True)
class Row:
    """One row of the table: a run of `3dinv run`."""

    name: str
    method: str
    views: int
    preset: str | None = None
    from_start: bool = False


ROWS = (
    Row("single-view", "pti", 1),
    Row(START, "multiview", 9),
    Row("latents-9", "multilatent", 9, "no-regularisers", from_start=True),
    Row("distance", "multilatent", 9, "distance", from_start=True),
    Row("interpolation", "multilatent", 9, "interpolation", from_start=True),
    Row("depth", "multilatent", 9, "depth", from_start=True),
)
# better row, worse row, place in metrics.json, larger is better
EXPECTED = (
    *(
        (better, worse, ("held_out", metric), metric == "identity")
        for better, worse in ((START, "single-view"), ("depth", START))
        for metric in ("mse", "perceptual", "identity")
    ),
    ("depth", "interpolation", ("depth_consistency",), False),
)


def run(row: Row, out: Path, capture: str, seed: int, options: tuple[str, ...]) -> None:
    """Run one row, unless its directory is there already."""
    directory = out / row.name
    if (directory / "metrics.json").exists():
        return
    command = [*PROGRAM, "run", "--method", row.method, "--input", capture, "--out", str(directory)]
    command += ["--views", str(row.views), "--seed", str(seed), "--overwrite", "--no-report"]
    command += ["--preset", row.preset] if row.preset else []
    command += ["--init", str(out / START)] if row.from_start else []
    for option in (*(STEPS if row.from_start else ()), *options):
        command += ["--set", option]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def value(metrics: dict[str, Any], place: tuple[str, ...]) -> float:
    """Return a number of metrics.json."""
    for key in place:
        metrics = metrics[key]
    return float(metrics)  # type: ignore[arg-type]


def verdicts(out: Path, names: list[str]) -> list[str]:
    """Say for each expected order among the rows whether it holds, with both numbers."""
    read = {name: json.loads((out / name / "metrics.json").read_text()) for name in names}
    lines = []
    for better, worse, place, larger in EXPECTED:
        if not {better, worse} <= set(names):
            continue
        first, second = value(read[better], place), value(read[worse], place)
        holds = first > second if larger else first < second
        sign = ">" if larger else "<"
        verdict = "holds" if holds else "DOES NOT HOLD"
        lines.append(
            f"{' '.join(place)}: {better} {first:.4g} {sign} {worse} {second:.4g}: {verdict}"
        )
    return lines


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs.")
@click.option("--input", "capture", default="sample:dynamic", show_default=True, help="Capture.")
@click.option("--seed", default=303, show_default=True, help="Of every run.")
@click.option(
    "--row",
    "names",
    multiple=True,
    type=click.Choice([row.name for row in ROWS]),
    help="Only these rows; the multi-latent ones need the multi-view one.",
)
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="Option of every run.")
def main(
    out: Path, capture: str, seed: int, names: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """Run every row, print the table and the verdicts."""
    rows = [row for row in ROWS if not names or row.name in names]
    for number, row in enumerate(rows, 1):
        print(f"{number} of {len(rows)}: {row.name}", file=sys.stderr, flush=True)
        run(row, out, capture, seed, options)
    subprocess.run([*PROGRAM, "compare", *(str(out / row.name) for row in rows)], check=True)
    print("\n".join(verdicts(out, [row.name for row in rows])))


if __name__ == "__main__":
    main()
