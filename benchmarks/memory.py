"""Peak memory of inverting into and tuning the full-size EG3D network with many views.

python -m benchmarks.memory --views 9 --rays 128 --limit-gb 16
"""

from __future__ import annotations

import platform
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import click
import torch
from torchvision import models

from inv3d.bench.cases import build_generator
from inv3d.commands.output import print_json, print_table
from inv3d.core.device import resolve_device
from inv3d.core.fit.context import Context
from inv3d.core.inverter import load_method
from inv3d.core.weights.tensors import write_tensors
from inv3d.io.dataset import open_capture
from inv3d.nn.choices import Precision
from inv3d.nn.ir_se import ArcFaceNetwork
from inv3d.runs.process import settle_process

GB = 10**9
SEED = 303
TUNING_STEPS = 2  # the second has the optimiser's state in place


@dataclass(frozen=True)
class Peak:
    """What one step left behind.

    Attributes:
        stage: of the method.
        seconds: that the step took.
        bytes: taken at most until then: by the whole process on a CPU, by torch's allocator on
            CUDA, where the driver takes some hundred megabytes more.
    """

    stage: str
    seconds: float
    bytes: int


def peak_memory(device: torch.device) -> int:
    """Bytes that were taken at most until now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def random_loss_weights(folder: Path) -> dict[str, Any]:
    """Write seeded random weights for lpips and arcface, and return the options that name them."""
    torch.manual_seed(SEED)
    options = {}
    for name, network in {"lpips": models.vgg16(), "arcface": ArcFaceNetwork()}.items():
        path = folder / f"{name}.safetensors"
        write_tensors(path, network.state_dict(), {})
        options[name] = {"weights": path}
    return options


def measure(
    options: dict[str, Any], views: int, chunk: int, device: torch.device, folder: Path
) -> Iterator[Peak]:
    """Invert the static sample, enlarged, with the default losses for faces."""
    generator = build_generator("eg3d", {"random_weights": True, "seed": SEED, **options})
    generator.to(device)
    context = Context.create(device, SEED, view_chunk=chunk)
    settings = {
        "views": views,
        "losses": random_loss_weights(folder),
        "latent": {"steps": 1},
        "tuning": {"steps": TUNING_STEPS},
    }
    capture = open_capture("sample:static").load(generator.spec.resolution)
    method = load_method("multiview", settings, generator)
    for step in method.steps(generator, capture.to(device), context):
        yield Peak(step.stage, round(step.seconds, 1), peak_memory(device))


@click.command()
@click.option("--views", type=click.IntRange(1, 60), default=9, show_default=True, help="Frames.")
@click.option("--rays", type=click.IntRange(8, 512), default=128, show_default=True, help="A side.")
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Views rendered at a time, as --view-chunk of '3dinv run'.",
)
@click.option(
    "--checkpoint/--no-checkpoint",
    default=True,
    show_default=True,
    help="Recompute chunks in the backward pass, as generator.checkpoint.",
)
@click.option(
    "--budget-mb",
    type=click.IntRange(min=1),
    default=2048,
    show_default=True,
    help="Of one chunk, as generator.memory_budget_mb.",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="Of convolutions, as --precision of '3dinv run'.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, or cuda:1.")
@click.option("--limit-gb", type=float, default=16.0, show_default=True, help="Exit 1 above it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    views: int,
    rays: int,
    chunk: int,
    checkpoint: bool,
    budget_mb: int,
    precision: Precision,
    device: str,
    limit_gb: float,
    as_json: bool,
) -> None:
    """Take a few steps of both stages of `multiview` at 512 px and say what they took."""
    settle_process()  # as the program does
    options = {
        "neural_rendering_resolution": rays,
        "checkpoint": checkpoint,
        "memory_budget_mb": budget_mb,
        "precision": precision,
    }
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for peak in measure(options, views, chunk, resolve_device(device), Path(folder)):
            click.echo(f"{peak.stage}: {peak.seconds} s, {peak.bytes / GB:.2f} GB", err=True)
            peaks.append(peak)
    if as_json:
        print_json([asdict(peak) for peak in peaks])
    else:
        rows = [[p.stage, f"{p.seconds}", f"{p.bytes / GB:.2f}"] for p in peaks]
        title = f"{views} views, {chunk} at a time, {rays} x {rays} rays, {precision}"
        print_table(["stage", "seconds a step", "peak GB until then"], rows, title)
    most = peaks[-1].bytes / GB
    if most > limit_gb:
        raise click.ClickException(
            f"{most:.2f} GB, more than the {limit_gb:g} GB of --limit-gb; lower --chunk, --rays or "
            "--budget-mb, or take --checkpoint"
        )
    click.echo(f"{most:.2f} GB, within the {limit_gb:g} GB of --limit-gb", err=True)


if __name__ == "__main__":
    main()
