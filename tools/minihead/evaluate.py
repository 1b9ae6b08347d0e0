"""Measure the trained generator on identities that it has never seen.

    python -m tools.minihead.evaluate --weights out/minihead/minihead.safetensors \\
        --out out/minihead/quality.json

Identities are the same whatever is measured, so that two networks are compared in pairs.
"""

from __future__ import annotations

import csv
import math
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image
from pytorch_msssim import ssim
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera, intrinsics_matrix
from inv3d.core.capture import Capture
from inv3d.core.config import build_config
from inv3d.core.files import write_json
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inverter import load_method
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.tensors import read_tensors
from tools.minihead.cameras import FOCAL, orbit
from tools.minihead.heads import HeadBatch, Heads
from tools.minihead.layout import NAMES
from tools.minihead.network import ARCHITECTURE, NAME
from tools.minihead.params import expression, identity_params, scene_params
from tools.minihead.raster import render
from tools.minihead.seeds import EVALUATION, z_of_seed

# Yaw and pitch, radians: sides, three quarters, front and back.
LOOKS = ((-1.2, 0.0), (-0.5, 0.15), (0.0, 0.0), (0.6, -0.2), (2.4, 0.1))
# From behind, where a network that mixes up front and back shows a face in light hair.
BEHIND = ((math.pi - 0.6, 0.0), (math.pi, 0.1), (math.pi + 0.6, 0.0))
# Factors whose change is measured: names of numbers in z, and their two values.
CHANGES = {
    "blink": (-1.0, 1.8), "jaw": (-1.0, 2.0), "smile": (-1.0, 1.6), "brow_raise": (-1.2, 1.5),
    "frown": (-1.2, 1.5), "pucker": (-1.2, 1.5), "gaze_x": (-1.2, 1.5), "beard": (-1.0, 1.5),
    "grey": (-1.0, 2.0), "hair_length": (-1.5, 1.5), "hair_tone": (-1.2, 1.5),
    "recede": (-1.2, 1.5), "wave": (-1.2, 1.5), "brows": (-1.2, 1.5), "lips": (-1.2, 1.5),
    "cloth_hue": (-1.2, 1.5), "cloth_tone": (-1.2, 1.5), "light_side": (-1.2, 1.5),
}  # fmt: skip
MEN = ("beard", "grey", "recede")  # or hardly seen otherwise
# Lowest and highest corner of the box around the face, world units.
FACE_BOX = ((-0.08, -0.17, 0.08), (0.08, 0.05, 0.30))
INSIDE = 3  # pixels from an outline from which on sharpness is measured


def load(name: str, weights: Path | None = None) -> Generator:
    """Return an embedded generator, or the same network with other weights."""
    kind = registry().load("generators", name)
    rays = {"render_resolution": ARCHITECTURE.neural_rendering_resolution}
    generator: Generator = kind.create(build_config(kind.Config, rays, name), weights)
    return generator


def to_picture(image: Tensor) -> Image.Image:
    """[3, H, W] in [-1, 1] to a picture."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def psnr(made: Tensor, wanted: Tensor) -> Tensor:
    """[N] decibels, images [N, 3, H, W] in [-1, 1]."""
    error = ((made.clamp(-1, 1) - wanted) / 2).square().mean((1, 2, 3))
    return -10 * torch.log10(error)


def photograph(head: HeadBatch, looks: list[tuple[float, float]], size: int) -> Capture:
    """Render the true head from looks (yaw, pitch)."""
    yaw, pitch = torch.tensor(looks).T
    poses = orbit(yaw, pitch)
    seen = render(head, poses[None], FOCAL, size)
    return Capture(
        images=seen["rgb"][0] * 2 - 1,
        cameras=Camera(poses, intrinsics_matrix(FOCAL, len(poses))),
        names=tuple(f"{i:05d}.png" for i in range(len(poses))),
        masks=seen["mask"][0],
        depths=seen["depth"][0],
    )


def depth_error(generator: Generator, ws: Tensor, truth: Capture) -> Tensor:
    """Mean difference of the depths where the head is solid, world units."""
    assert truth.depths is not None and truth.masks is not None
    size = generator.spec.render_resolution
    scene = generator.synthesize(ws)
    depth = generator.render(scene, truth.camera, outputs=("depth",)).require("depth")
    wanted = F.interpolate(truth.depths, size=(size, size), mode="area")
    solid = F.interpolate(truth.masks, size=(size, size), mode="area") > 0.999
    solid &= F.interpolate((truth.depths > 0).float(), size=(size, size), mode="area") > 0.999
    return (depth - wanted).abs()[solid].mean()


def on_face(truth: Capture) -> Tensor:
    """Pixels [N, 1, R, R] whose surface is the face."""
    assert truth.depths is not None
    origins, directions = truth.camera.rays(truth.images.shape[-1])
    points = origins + directions * truth.depths.flatten(2).transpose(1, 2)
    low, high = points.new_tensor(FACE_BOX)
    inside = ((points > low) & (points < high)).all(-1).view(truth.depths.shape)
    return inside & (truth.depths > 0)


def slopes(images: Tensor) -> Tensor:
    """How steep pictures [N, 3, R, R] are at each pixel, [N, R - 1, R - 1]."""
    grey = images.mean(1)
    across, down = grey.diff(dim=-1)[..., :-1, :], grey.diff(dim=-2)[..., :-1]
    return (across.square() + down.square()).sqrt()


def inner_sharpness(made: Tensor, truth: Capture) -> Tensor:
    """Steepness of generated pictures relative to the true ones, outlines left out."""
    assert truth.masks is not None
    inside = -F.max_pool2d(-(truth.masks > 0.99).float(), 2 * INSIDE + 1, 1, INSIDE)
    chosen = inside[:, 0, :-1, :-1] > 0
    return slopes(made.clamp(-1, 1))[chosen].sum() / slopes(truth.images)[chosen].sum()


@torch.no_grad()
def from_z(generator: Generator, heads: Heads, seeds: range) -> dict[str, float]:
    """Likeness of pictures from z alone: means over identities; the face's PSNR is of all pixels.

    The last row is judged by its own PSNR, since super-resolution may treat edges otherwise.
    """
    rows, face, pixels, edge = [], 0.0, 0, 0.0
    for seed in track(seeds, description="from z"):
        z = z_of_seed(seed)[None]
        truth = photograph(heads.build(z), list(LOOKS), generator.spec.resolution)
        ws = generator.map(z)
        image = generator.render(generator.synthesize(ws), truth.camera).require("image")
        likeness = ssim(image.clamp(-1, 1) + 1, truth.images + 1, data_range=2.0)
        error = ((image.clamp(-1, 1) - truth.images) / 2).square().mean(1, keepdim=True)
        chosen = on_face(truth)
        face, pixels = face + float(error[chosen].sum()), pixels + int(chosen.sum())
        edge += float(error[..., -1, :].mean()) / len(seeds)
        depth = depth_error(generator, ws, truth)
        likeness_of = psnr(image, truth.images).mean()
        rows.append(torch.stack([likeness_of, likeness, inner_sharpness(image, truth), depth]))
    mean = torch.stack(rows).mean(0).tolist()
    names = ("psnr", "ssim", "inner_sharpness", "depth_error")
    return {
        "identities": len(seeds),
        **dict(zip(names, mean, strict=True)),
        "psnr_face": -10 * math.log10(face / pixels),
        "psnr_last_row": -10 * math.log10(edge),
    }


@torch.no_grad()
def behind(generator: Generator, heads: Heads, seeds: range) -> float:
    """PSNR from z alone of heads with white hair, seen from behind."""
    rows = []
    for seed in seeds:
        z = z_of_seed(seed)[None]
        z[:, NAMES["grey"]], z[:, NAMES["age"]] = CHANGES["grey"][1], 1.0
        truth = photograph(heads.build(z), list(BEHIND), generator.spec.resolution)
        scene = generator.synthesize(generator.map(z))
        rows.append(psnr(generator.render(scene, truth.camera).require("image"), truth.images))
    return float(torch.stack(rows).mean())


@torch.no_grad()
def shares(generator: Generator, heads: Heads, seeds: range) -> dict[str, dict[str, float]]:
    """How much of the change that a factor makes in the picture the generator makes too.

    The share is the regression of the generated change on the true one: 1 is right, 0 is missing.
    The residual is what else changes, relative to the true change.
    """
    result = {}
    for name, values in track(CHANGES.items(), description="factors"):
        top = bottom = wrong = 0.0
        for seed in seeds:
            z = z_of_seed(seed).repeat(2, 1)
            if name in MEN:
                z[:, NAMES["gender"]], z[:, NAMES["age"]] = -1.5, 1.0
            z[:, NAMES[name].start] = torch.tensor(values)
            truth = [photograph(heads.build(row[None]), [(0.2, 0.05)], 128) for row in z]
            camera = Camera.cat([capture.camera for capture in truth])
            made = generator.render(generator.synthesize(generator.map(z)), camera)
            wanted = torch.cat([capture.images for capture in truth])
            change, true_change = (
                F.avg_pool2d(images[1] - images[0], 2) for images in (made.require("image"), wanted)
            )
            top += float((change * true_change).sum())
            bottom += float(true_change.square().sum())
            wrong += float((change - true_change).square().sum())
        result[name] = {"share": top / bottom, "residual": wrong / bottom}
    return result


def fit(generator: Generator, heads: Heads, seeds: range, steps: int) -> dict[str, float]:
    """W+ fits of nine views by the method multiview; quality in views between them."""
    given = [(float(yaw), 0.0) for yaw in torch.linspace(-1.2, 1.2, 9)]
    between = [(float(yaw), 0.08) for yaw in torch.linspace(-1.05, 1.05, 8)]
    options = {"latent": {"steps": steps}, "tuning": {"steps": 0}}
    rows, seconds = [], 0.0
    for seed in track(seeds, description="W+ fits"):
        head = heads.build(z_of_seed(seed)[None])
        capture, held_out = (photograph(head, looks, 128) for looks in (given, between))
        context = Context.create(seed=303)
        started = time.perf_counter()
        method = load_method("multiview", options, generator)
        found = method.invert(generator, capture, context)
        seconds += time.perf_counter() - started
        with torch.no_grad():
            scene = generator.synthesize(found.ws)
            near, far = (
                psnr(generator.render(scene, c.camera).require("image"), c.images).mean()
                for c in (capture, held_out)
            )
            rows.append(torch.stack([near, far, depth_error(generator, found.ws, held_out)]))
    mean = torch.stack(rows).mean(0).tolist()
    return {
        "identities": len(seeds),
        "steps": steps,
        "psnr_given": mean[0],
        "psnr_held_out": mean[1],
        "depth_error": mean[2],
        "seconds_a_step": seconds / (len(seeds) * steps),
    }


@torch.no_grad()
def linear_probe(generator: Generator, samples: int = 12_000, seed: int = 3) -> dict[str, float]:
    """R^2 by which a linear function of w tells each parameter of the head, on held-out z."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator.spec.z_dim, generator=rng)
    w = F.pad(generator.map(z)[:, 0].double(), (0, 1), value=1.0)
    params = identity_params(z) | scene_params(z) | expression(z)
    names = [
        name if value.ndim == 1 else f"{name}{k}"
        for name, value in params.items()
        for k in range(value[:1].numel())
    ]
    wanted = torch.cat([v.reshape(samples, -1) for v in params.values()], 1).double()
    train, test = slice(0, 3 * samples // 4), slice(3 * samples // 4, None)
    normal = w[train].t() @ w[train]
    normal += 1e-6 * normal.diagonal().mean() * torch.eye(len(normal), dtype=w.dtype)
    read = torch.linalg.solve(normal, w[train].t() @ wanted[train])
    missing = (w[test] @ read - wanted[test]).square().mean(0) / wanted[test].var(0)
    found = dict(zip(names, (1 - missing).tolist(), strict=True))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def log(path: Path, numbers: dict[str, Any]) -> None:
    """Append the numbers of pictures from z and the shares to a table."""
    row = {"time": datetime.now().isoformat(timespec="minutes"), "steps": numbers["steps"]}
    row |= {name: round(value, 4) for name, value in numbers["from_z"].items()}
    row |= {name: round(found["share"], 3) for name, found in numbers["shares"].items()}
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON file to write.")
@click.option("--weights", type=click.Path(path_type=Path), required=True, help="What is measured.")
@click.option("--identities", default=64, show_default=True, help="Held-out heads for pictures.")
@click.option("--fits", default=8, show_default=True, help="Held-out heads for W+ fits.")
@click.option("--steps", default=200, show_default=True, help="Of a W+ fit.")
@click.option("--log", "table", type=click.Path(path_type=Path), help="CSV file to append to.")
def main(
    out: Path, weights: Path, identities: int, fits: int, steps: int, table: Path | None
) -> None:
    """Write the numbers of the model card."""
    generator, heads = load(NAME, weights), Heads()
    first = EVALUATION.start
    _, metadata = read_tensors(weights)
    numbers: dict[str, Any] = {
        "fingerprint": generator.spec.fingerprint,
        "steps": metadata["training"]["steps"],
    }
    numbers["from_z"] = from_z(generator, heads, range(first, first + identities))
    few = range(first, first + min(6, identities))
    numbers["shares"] = shares(generator, heads, few)
    numbers["linear_probe"] = linear_probe(generator)
    numbers["white_hair_from_behind"] = behind(generator, heads, few)
    if fits:
        numbers["wplus"] = fit(generator, heads, range(first, first + fits), steps)
    write_json(out, numbers)
    if table is not None:
        log(table, numbers)
    print(out.read_text())


if __name__ == "__main__":
    main()
