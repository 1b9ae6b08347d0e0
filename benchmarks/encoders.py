"""Where the time of one pass goes: encoder, backbone, render, second branch; random weights.

python -m benchmarks.encoders --size full --pictures 1
python -m benchmarks.encoders --size mini --pictures 1,16 --precision fp32,bf16 --cpu-time
python -m benchmarks.encoders --size full --pictures 1 --rays 128 --device cuda --graphs
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click
import torch

from inv3d.bench.cases import Choice, Size, make_case
from inv3d.bench.timing import finish
from inv3d.commands.output import print_json, print_table
from inv3d.core.config import build_config
from inv3d.core.device import resolve_device
from inv3d.core.fit.replay import CudaGraphs
from inv3d.nn.choices import Precision
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.nn.encoders.triplanenet import TriPlaneNet
from inv3d.plugins.methods.encoders.branches import make_network, plane_channels
from inv3d.plugins.methods.encoders.options import TriPlaneNetConfig

SEED = 303


@dataclass(frozen=True)
class Row:
    """One part of a pass.

    Attributes:
        part: what is timed.
        pictures: at once.
        precision: of the encoders' convolutions.
        layout: of the encoders' maps.
        milliseconds: of a picture, the median.
    """

    part: str
    pictures: int
    precision: Precision
    layout: str
    milliseconds: float


def networks(generator: TriplaneGenerator, channels_last: bool) -> TriPlaneNet:
    """Return both branches of TriPlaneNet at the sizes that suit a generator."""
    options = type(generator).method_options.get("triplanenet", {})
    config = build_config(TriPlaneNetConfig, options, "method triplanenet")
    made = make_network(config, generator.spec, plane_channels(generator))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return made.to(generator.device, memory_format=layout).eval().requires_grad_(False)


@torch.no_grad()
def parts(
    generator: TriplaneGenerator, network: TriPlaneNet, pictures: int
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what a pass consists of, by name."""
    size, device = generator.spec.resolution, generator.device
    rng = torch.Generator().manual_seed(SEED)
    images = (torch.rand(pictures, 3, size, size, generator=rng) * 2 - 1).to(device)
    camera = generator.spec.camera.orbit(torch.linspace(-0.5, 0.5, pictures)).to(device)
    average = torch.zeros(1, generator.spec.w_dim, device=device)
    ws = network.latents(images, average)
    scene = generator.synthesize(ws)
    look = network.look(generator, ws, camera)
    yield "encoder", lambda: network.latents(images, average)
    yield "backbone", lambda: generator.synthesize(ws)
    yield "render", lambda: generator.render(scene, camera)
    yield "second branch", lambda: network.offset(images, look)
    yield (
        "photo to picture",
        lambda: generator.render(generator.synthesize(network.latents(images, average)), camera),
    )


@torch.no_grad()
def milliseconds(
    work: Callable[[], Any], repeats: int, device: torch.device, clock: Callable[[], float]
) -> float:
    """Return the median of some calls, after a first one that isn't counted."""
    work()
    found = []
    for _ in range(repeats):
        finish(device)
        started = clock()
        work()
        finish(device)
        found.append(clock() - started)
    return 1000 * statistics.median(found)


@torch.no_grad()
def recorded(work: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """Return what does the same again as a CUDA graph, without Python between its launches."""
    again, _ = CudaGraphs(device)(work, ())
    return again


@click.command()
@click.option("--size", type=click.Choice(["full", "half", "mini"]), default="full")
@click.option("--pictures", default="1,16", show_default=True, help="At once; several by commas.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, tf32, bf16, fp16.")
@click.option("--rays", type=int, help="A side; 32, or the embedded generator's own.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--threads", type=int)
@click.option("--device", default="auto", show_default=True)
@click.option("--graphs", is_flag=True, help="Also record each part as a CUDA graph.")
@click.option("--cpu-time", is_flag=True, help="CPU seconds of the process, on shared CPUs.")
@click.option("--json", "as_json", is_flag=True)
def main(
    size: Size,
    pictures: str,
    precision: str,
    rays: int | None,
    repeats: int,
    threads: int | None,
    device: str,
    graphs: bool,
    cpu_time: bool,
    as_json: bool,
) -> None:
    """Time the parts of an inversion by TriPlaneNet, for one picture and for several at once."""
    if threads:
        torch.set_num_threads(threads)
    place = resolve_device(device)
    if graphs and (place.type != "cuda" or cpu_time):
        raise click.UsageError(
            "--graphs: records on a CUDA device, by the wall clock; leave it out"
        )
    generator = make_case(Choice(size, rays=rays)).generator.to(place).eval().requires_grad_(False)
    clock = time.process_time if cpu_time else time.perf_counter
    rows = []
    for count in map(int, pictures.split(",")):
        for kind in precision.split(","):
            for channels_last in (False, True):
                network = networks(generator, channels_last)
                network.precision = kind  # type: ignore[assignment]
                layout = "channels last" if channels_last else "channels first"
                for part, work in parts(generator, network, count):
                    ways = {part: work}
                    if graphs:
                        ways[f"{part}, recorded"] = recorded(work, place)
                    for name, way in ways.items():
                        taken = milliseconds(way, repeats, place, clock) / count
                        rows.append(Row(name, count, kind, layout, taken))  # type: ignore[arg-type]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    cells = [
        [r.part, str(r.pictures), r.precision, r.layout, f"{r.milliseconds:.1f}"] for r in rows
    ]
    print_table(["part", "pictures", "precision", "layout", "ms a picture"], cells)


if __name__ == "__main__":
    main()
