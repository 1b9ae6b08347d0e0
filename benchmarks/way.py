"""The way to the result: quality and CPU seconds of whole inversions under two sets of options.

python -m benchmarks.way run OUT --capture sample:static --capture a.zip --seed 303
python -m benchmarks.way table OUT
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from inv3d.core.files import write_json
from inv3d.report.metrics import build_judges, compare_images
from inv3d.report.views import render_views
from inv3d.runs.prepare import PreparedRun, Request, prepare

METHODS = ("multiview", "multilatent")
COLUMNS = {"mse": "MSE", "perceptual": "perceptual", "identity": "ID", "seconds": "CPU s"}
DIGITS = {"mse": 4, "perceptual": 4, "identity": 4, "seconds": 0}
# what the embedded generator suggested at first: Adam over all views, a constant rate in the tuning
_CONSTANT = {"lr": 2e-3, "rampup": 0.0, "rampdown": 0.0}
_SEARCH = {"optimizer": "adam", "steps": 150, "samples": 4000}
ADAM: dict[str, dict[str, Any]] = {
    "multiview": {
        "views_per_step": None,
        "latent": _SEARCH,
        "tuning": {"steps": 100, **_CONSTANT},
    },
    "multilatent": {
        "views_per_step": None,
        "depth_every": 1,
        "start": {
            "views_per_step": None,
            "latent": {**_SEARCH, "steps": 120},
            "tuning": {"steps": 0},
        },
        "latent": {"steps": 40},
        "tuning": {"steps": 55, **_CONSTANT},
    },
}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {"adam": ADAM, "default": {m: {} for m in METHODS}}

Row = dict[str, Any]


def measure(run: PreparedRun) -> dict[str, float]:
    """Invert, and return the CPU seconds that took and the means over the held-out frames."""
    torch.manual_seed(0)
    chosen, context = run.capture[run.plan.input.chosen], run.context(None)
    started = time.process_time()
    inversion = run.method.invert(run.generator, chosen, context, lambda step: None)
    seconds = time.process_time() - started
    held_out = run.capture[run.plan.input.held_out]
    judges, _ = build_judges(run.generator.spec.metrics, run.device)
    parts: dict[str, list[float]] = {}
    with torch.no_grad():
        for views, seen in render_views(run.generator, inversion, held_out.camera):
            images = seen.require("image")
            found = compare_images(images, held_out.images[views], judges)
            for name, values in found.items():
                parts.setdefault(name, []).extend(values.tolist())
    means = {name: statistics.fmean(parts[name]) for name in COLUMNS if name in parts}
    return means | {"seconds": seconds}


def row_of(capture: str, seed: int, method: str, variant: str) -> Row:
    """Return what a row of the table is about."""
    return {"capture": Path(capture).stem, "seed": seed, "method": method, "variant": variant}


def path_of(out: Path, row: Mapping[str, Any]) -> Path:
    """The file of a row."""
    name = "-".join(str(row[key]) for key in ("method", "variant", "capture", "seed"))
    return out / f"{name.replace(':', '_')}.json"


def take(out: Path, row: Row, capture: str, options: Mapping[str, Any]) -> None:
    """Measure a row that isn't there yet."""
    path = path_of(out, row)
    if path.exists():
        return
    run = prepare(
        Request(row["method"], "minihead", capture, options, seed=row["seed"], device="cpu")
    )
    out.mkdir(parents=True, exist_ok=True)
    found = measure(run)
    write_json(path, row | found)
    click.echo(json.dumps(row | {k: round(v, 5) for k, v in found.items()}))


def rows_in(out: Path) -> list[Row]:
    """Read all rows."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]


def table(rows: Sequence[Row], first: str = "adam", second: str = "default") -> str:
    """Return a markdown table: both variants, and their difference from pair to pair."""
    lines = [
        "| method | options | runs | " + " | ".join(COLUMNS.values()) + " |",
        "| --- | --- | --- |" + " --- |" * len(COLUMNS),
    ]
    for method in METHODS:
        pairs = list(_pairs(rows, method, first, second))
        if not pairs:
            continue
        for index, name in enumerate((first, second)):
            found = {c: statistics.fmean(pair[index][c] for pair in pairs) for c in COLUMNS}
            cells = [f"{found[c]:.{DIGITS[c]}f}" for c in COLUMNS]
            lines.append(f"| `{method}` | {name} | {len(pairs)} | " + " | ".join(cells) + " |")
        cells = [_difference([b[c] - a[c] for a, b in pairs], DIGITS[c]) for c in COLUMNS]
        lines.append(f"| | difference | | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pairs(rows: Iterable[Row], method: str, *variants: str) -> Iterable[tuple[Row, ...]]:
    """The rows of both variants for each capture and seed that has both."""
    groups: dict[tuple[str, int], dict[str, Row]] = {}
    for row in rows:
        if row["method"] == method:
            groups.setdefault((row["capture"], row["seed"]), {})[row["variant"]] = row
    for group in groups.values():
        if all(name in group for name in variants):
            yield tuple(group[name] for name in variants)


def _difference(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation of differences."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):+.{digits}f} ± {spread:.{digits}f}"


@click.group()
def main() -> None:
    """Whole inversions by the old way and by the default one."""


@main.command("run")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--capture", "captures", multiple=True, required=True, help="Capture; repeatable.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(303,), help="Repeatable.")
@click.option("--method", "methods", multiple=True, default=METHODS, help="Repeatable.")
@click.option("--variant", "variants", multiple=True, default=tuple(VARIANTS), help="Repeatable.")
def run_command(
    out: Path,
    captures: tuple[str, ...],
    seeds: tuple[int, ...],
    methods: tuple[str, ...],
    variants: tuple[str, ...],
) -> None:
    """Measure what OUT doesn't hold yet, a JSON file a run."""
    torch.set_num_threads(1)
    for seed in seeds:
        for capture in captures:
            for method in methods:
                for variant in variants:
                    row = row_of(capture, seed, method, variant)
                    take(out, row, capture, VARIANTS[variant][method])


@main.command("table")
@click.argument("out", type=click.Path(path_type=Path))
def table_command(out: Path) -> None:
    """Print the table of all runs in OUT."""
    click.echo(table(rows_in(out)))


if __name__ == "__main__":
    main()
