"""One picture of a held-out head: how well methods show it from elsewhere, and find its camera.

python -m benchmarks.single_photo run OUT --capture a.zip --capture b.zip --around orbits/
python -m benchmarks.single_photo table OUT

A capture has true cameras, and depth for what is scored apart; tools/minihead makes such ones of
heads that no generator has seen. A row is a head, a view and a method; rows that are there stay.
With --around, a folder of captures of the same names from all around, sets of heads are compared.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.around import around, frechet
from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import merge, preset_options
from inv3d.core.files import write_json
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator, load_generator
from inv3d.core.geometry.rotations import angle_between
from inv3d.core.geometry.views import turned_camera
from inv3d.core.geometry.warp import warp_view
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import AnyInverter, load_method
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.tensors import read_tensors, write_tensors
from inv3d.io.dataset import open_capture
from inv3d.report.metrics import build_judges, compare_images
from inv3d.report.pictures import colour_frames, save_png, tile
from inv3d.report.views import render_views

# radians from the view that is inverted
OFFSETS = (0.0, -0.3, 0.3, -0.6, 0.6, -0.8, 0.8)
# how far behind the picture's surface a point may lie and still be seen, world units
_TOLERANCE = 0.03
DIGITS = {"mse": 4, "perceptual": 3, "identity": 3}
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A method as it's compared.

    Attributes:
        method: name of the plugin.
        options: over those that suit the generator.
        posed: whether it's given the true camera.
        off_deg: degrees by which the camera that it's given is wrong.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    posed: bool = True
    off_deg: float = 0.0


VARIANTS = {
    "w": Variant("wplus", {"latent": {"space": "w"}}),
    "wplus": Variant("wplus"),
    "pti": Variant("pti"),
    "pti-off10": Variant("pti", off_deg=10.0),
    "hfgi3d": Variant("hfgi3d"),
    "spi": Variant("spi"),
    "poseopt": Variant("poseopt", posed=False),
    "psp": Variant("psp"),
    "e4e": Variant("e4e"),
    "triplanenet": Variant("triplanenet"),
    "dualencoder": Variant("dualencoder"),
    "hybrid": Variant("hybrid"),
}


def variant_of(name: str) -> Variant:
    """Return a variant by name, or a method that takes a training, as in 'e4e=out/e4e'.

    Raises:
        click.UsageError: where there's no such variant.
    """
    method, _, weights = name.partition("=")
    if weights:
        return Variant(method, {"weights": weights})
    if name not in VARIANTS:
        raise click.UsageError(f"--method {name}: expected one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def variants_in(rows: Sequence[Row]) -> list[str]:
    """Return the variants of rows, those of trainings last."""
    named = dict.fromkeys(str(row["variant"]) for row in rows)
    return [name for name in VARIANTS if name in named] + [n for n in named if n not in VARIANTS]


def view_at(capture: Capture, yaw: float) -> int:
    """Return the view nearest to a yaw in radians."""
    return int((capture.camera.yaw - yaw).abs().argmin())


def given(capture: Capture, row: int, variant: Variant) -> Capture:
    """Return the one picture as a method is given it: with its camera, a wrong one, or none."""
    view = replace(capture[[row]], depths=None)
    if not variant.posed:
        return replace(view, cameras=None)
    if variant.off_deg:
        turn = torch.tensor([math.radians(variant.off_deg)])
        return view.with_cameras(turned_camera(view.camera, turn, torch.zeros(1)))
    return view


def options_of(variant: Variant, method: type[AnyInverter], preset: str | None) -> dict[str, Any]:
    """Return the options of a variant over those of a preset, where the method has it."""
    chosen = preset if preset in method.presets else None
    return merge(preset_options(method, chosen, method.name), variant.options)


def measure(
    generator: Generator, capture: Capture, row: int, found: Inversion, seconds: float
) -> tuple[Row, Tensor]:
    """Return the numbers of a result, and the rendered views beside the true ones.

    Args:
        generator: tuned.
        capture: with true cameras.
        row: of the view that was inverted.
        found: the result.
        seconds: of the CPU that it took.
    """
    yaw = float(capture.camera.yaw[row])
    rows = [row, *(view_at(capture, yaw + offset) for offset in OFFSETS[1:])]
    views = capture[rows]
    judges, _ = build_judges(generator.spec.metrics, generator.device)
    cameras = seen_from(found.cameras[0], capture.camera[row], views.camera)
    seen = [one for _, one in render_views(generator, found, cameras)]
    images = torch.cat([one.require("image") for one in seen])
    with torch.no_grad():
        scores = compare_images(images, views.images, judges)
    numbers: Row = {"seconds": seconds, "yaw": yaw}
    for name, values in scores.items():
        numbers |= {f"{name}@{o:+.1f}": float(v) for o, v in zip(OFFSETS, values, strict=True)}
    pose = found.cameras.rotation[:1]
    numbers["pose_deg"] = float(angle_between(pose, capture.camera.rotation[[row]]).rad2deg())
    if capture.depths is not None:
        numbers |= by_visibility(capture, rows, images)
        numbers["depth"] = depth_error(generator, found, capture, row)
    return numbers, torch.cat([views.images, images])


def seen_from(found: Camera, true: Camera, views: Camera) -> Camera:
    """Return views that lie to a method's camera as the true ones lie to the true camera.

    Where a head is turned in the world counts as the camera's error, not as that of each view.
    """
    cam2world = found.cam2world @ torch.linalg.inv(true.cam2world) @ views.cam2world
    return Camera(cam2world, views.intrinsics)


def by_visibility(capture: Capture, rows: Sequence[int], images: Tensor) -> Row:
    """Return the squared error of the head where the picture shows it, and where it doesn't."""
    views, picture = capture[rows], capture[[rows[0]] * len(rows)]
    assert views.depths is not None and picture.depths is not None
    warped = warp_view(
        picture.images,
        picture.camera,
        picture.depths,
        views.camera,
        views.depths,
        tolerance=_TOLERANCE,
    )
    size = images.shape[-2:]
    head = F.interpolate((views.depths > 0).float(), size, mode="nearest")
    error = (images - views.images).square().mean(1, keepdim=True)[1:]
    parts = {"seen": head * warped.seen, "unseen": head * (1 - warped.seen)}
    return {
        f"mse_{name}": float((error * part[1:]).sum() / part[1:].sum().clamp_min(1))
        for name, part in parts.items()
    }


def depth_error(generator: Generator, found: Inversion, capture: Capture, row: int) -> float:
    """Return the mean difference from the true depth of the head, world units."""
    camera = found.cameras[0]
    with torch.no_grad():
        scene = found.scene_for(generator, camera)
        depth = generator.render(scene, camera, outputs=("depth",)).require("depth")
    assert capture.depths is not None
    true = F.interpolate(capture.depths[[row]], depth.shape[-2:], mode="nearest")
    return float((depth - true).abs()[true > 0].mean())


def invert(
    generator: Generator, view: Capture, variant: Variant, preset: str | None, seed: int
) -> tuple[Inversion, float]:
    """Invert one picture; return the result and the CPU seconds that it took."""
    kind: type[AnyInverter] = registry().load("methods", variant.method)
    method = load_method(variant.method, options_of(variant, kind, preset), generator)
    context = Context.create("cpu", seed)
    torch.manual_seed(0)
    started = time.process_time()
    found = method.invert(generator, view, context)
    return found, time.process_time() - started


def name_of(capture: str, yaw_deg: float, variant: str) -> str:
    """The name of a row's files."""
    method, _, weights = variant.partition("=")
    named = f"{method}.{Path(weights).stem}" if weights else variant
    return f"{named}-{Path(capture).stem}-{yaw_deg:+.0f}".replace(":", "_")


def rows_in(out: Path) -> list[Row]:
    """Read all rows."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]


def table(rows: Sequence[Row], distances: Mapping[str, float] | None = None) -> str:
    """Return a markdown table of means over heads and views: a row a method.

    Args:
        rows: of all methods.
        distances: variant -> distance of its heads from the true ones, all around.
    """
    groups = {"input": (0.0,), **{f"±{o}": (-o, o) for o in (0.3, 0.6, 0.8)}}
    heads = [f"{metric} {group}" for group in groups for metric in ("MSE", "perceptual", "ID")]
    last = ["seen", "unseen", "depth", "pose deg", "CPU s", "Fréchet, headid-b"]
    lines = [
        f"| method | n | {' | '.join([*heads, *last])} |",
        "|" + " --- |" * (2 + len(heads) + len(last)),
    ]
    for variant in variants_in(rows):
        mine = [row for row in rows if row["variant"] == variant]
        cells = [
            _mean(mine, [f"{metric}@{o:+.1f}" for o in offsets], digits)
            for offsets in groups.values()
            for metric, digits in DIGITS.items()
        ]
        cells += [_mean(mine, [key], 4) for key in ("mse_seen", "mse_unseen", "depth")]
        cells += [_mean(mine, ["pose_deg"], 1), _mean(mine, ["seconds"], 1)]
        distance = (distances or {}).get(variant)
        cells.append("" if distance is None else f"{distance:.3f}")
        lines.append(f"| {variant} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def all_around(out: Path) -> dict[str, float]:
    """Return Fréchet's distance of each variant's heads from the true ones, where it was asked."""
    sets: dict[str, list[dict[str, Tensor]]] = {}
    for row in rows_in(out):
        if (path := out / f"{row['name']}.safetensors").exists():
            sets.setdefault(row["variant"], []).append(read_tensors(path)[0])
    return {
        variant: frechet(*(torch.cat([part[name] for part in parts]) for name in ("made", "true")))
        for variant, parts in sets.items()
    }


def _mean(rows: Sequence[Row], keys: Sequence[str], digits: int) -> str:
    values = [row[key] for row in rows for key in keys if key in row]
    return f"{statistics.fmean(values):.{digits}f}" if values else ""


def cases(rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Return variant -> names of the median and the worst case by the error of novel views."""
    named = {}
    for variant in variants_in(rows):
        mine = [row for row in rows if row["variant"] == variant]
        mine.sort(key=lambda row: sum(row[f"mse@{o:+.1f}"] for o in OFFSETS[1:]))
        named[variant] = (mine[(len(mine) - 1) // 2]["name"], mine[-1]["name"])
    return named


@click.group()
def main() -> None:
    """Methods for one picture on heads that are known from all sides."""


@main.command("run")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--capture", "captures", multiple=True, required=True, help="Capture; repeatable.")
@click.option("--yaw-deg", "yaws", multiple=True, type=float, default=(0.0,), help="Repeatable.")
@click.option(
    "--method",
    "variants",
    multiple=True,
    default=tuple(VARIANTS),
    help="Repeatable; METHOD=DIR takes what a training left there.",
)
@click.option(
    "--around", "orbits", type=click.Path(exists=True, path_type=Path), help="Folder of captures."
)
@click.option("--generator", default="minihead", show_default=True)
@click.option("--generator-preset", help="Of the generator, such as fast.")
@click.option("--preset", help="Of the methods that have it, such as fast.")
@click.option("--seed", default=303, show_default=True)
def run_command(
    out: Path,
    captures: tuple[str, ...],
    yaws: tuple[float, ...],
    variants: tuple[str, ...],
    orbits: Path | None,
    generator: str,
    generator_preset: str | None,
    preset: str | None,
    seed: int,
) -> None:
    """Measure what OUT doesn't hold yet: a JSON file and a sheet of pictures a row."""
    torch.set_num_threads(1)
    kind: type[Generator] = registry().load("generators", generator)
    of_generator = preset_options(kind, generator_preset, f"generator {generator}")
    out.mkdir(parents=True, exist_ok=True)
    for source in captures:
        capture = None
        for yaw_deg in yaws:
            for variant in variants:
                name = name_of(source, yaw_deg, variant)
                if (out / f"{name}.json").exists():
                    continue
                made = load_generator(generator, of_generator)
                capture = capture or open_capture(source).load(made.spec.resolution)
                row = view_at(capture, math.radians(yaw_deg))
                chosen = variant_of(variant)
                view = given(capture, row, chosen)
                found, seconds = invert(made, view, chosen, preset, seed)
                numbers, images = measure(made, capture, row, found, seconds)
                sheet = [colour_frames(part) for part in images.split(len(OFFSETS))]
                save_png(out / f"{name}.png", tile(sheet))
                if orbits is not None:
                    true = open_capture(orbits / Path(source).name).load(made.spec.resolution)
                    cameras = seen_from(found.cameras[0], capture.camera[row], true.camera)
                    sets = around(made, found, cameras, true.images)
                    path = out / f"{name}.safetensors"
                    write_tensors(path, dict(zip(("made", "true"), sets, strict=True)), {})
                write_json(
                    out / f"{name}.json",
                    {"name": name, "variant": variant, "capture": source} | numbers,
                )
                click.echo(f"{name}: {json.dumps({k: round(v, 4) for k, v in numbers.items()})}")


@main.command("table")
@click.argument("out", type=click.Path(path_type=Path))
def table_command(out: Path) -> None:
    """Print the table of all rows in OUT, and which sheets show the median and the worst case."""
    rows = rows_in(out)
    click.echo(table(rows, all_around(out)))
    for variant, (median, worst) in cases(rows).items():
        click.echo(f"{variant}: median {median}.png, worst {worst}.png")


if __name__ == "__main__":
    main()
