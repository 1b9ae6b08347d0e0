"""Measure the trained generator on identities that it has never seen.

python -m tools.minihead.evaluate --out docs/minihead/quality.json
"""

from __future__ import annotations

import math
import time
from pathlib import Path

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
from inv3d.core.registry.discovery import registry
from tools.minihead.cameras import FOCAL, orbit
from tools.minihead.heads import HeadBatch, Heads
from tools.minihead.layout import NAMES
from tools.minihead.network import NETWORKS
from tools.minihead.raster import render
from tools.minihead.seeds import EVALUATION, z_of_seed

# Yaw and pitch, radians: sides, three quarters, front and back.
LOOKS = ((-1.2, 0.0), (-0.5, 0.15), (0.0, 0.0), (0.6, -0.2), (2.4, 0.1))
# From behind, where a network that mixes up front and back shows a face in light hair.
BEHIND = ((math.pi - 0.6, 0.0), (math.pi, 0.1), (math.pi + 0.6, 0.0))
# Attributes that are rare in the data: name of the number in z and a value that shows it.
RARE = {"blink": 2.0, "jaw": 2.2, "grey": 2.0, "beard": 1.5}


def load(name: str, weights: Path | None = None) -> Generator:
    """Return an embedded generator, or the same network with other weights."""
    kind = registry().load("generators", name)
    generator: Generator = kind.create(build_config(kind.Config, {}, name), weights)
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


@torch.no_grad()
def from_z(generator: Generator, heads: Heads, seeds: range) -> dict[str, float]:
    """PSNR, SSIM and depth error of pictures from z alone."""
    rows = []
    for seed in track(seeds, description="from z"):
        z = z_of_seed(seed)[None]
        truth = photograph(heads.build(z), list(LOOKS), generator.spec.resolution)
        ws = generator.map(z)
        image = generator.render(generator.synthesize(ws), truth.camera).require("image")
        likeness = ssim(image.clamp(-1, 1) + 1, truth.images + 1, data_range=2.0)
        rows.append(
            torch.stack(
                [psnr(image, truth.images).mean(), likeness, depth_error(generator, ws, truth)]
            )
        )
    mean = torch.stack(rows).mean(0).tolist()
    return {"identities": len(seeds), "psnr": mean[0], "ssim": mean[1], "depth_error": mean[2]}


@torch.no_grad()
def behind(generator: Generator, heads: Heads, seeds: range) -> float:
    """PSNR from z alone of heads with white hair, seen from behind."""
    rows = []
    for seed in seeds:
        z = z_of_seed(seed)[None]
        z[:, NAMES["grey"]], z[:, NAMES["age"]] = RARE["grey"], 1.0
        truth = photograph(heads.build(z), list(BEHIND), generator.spec.resolution)
        scene = generator.synthesize(generator.map(z))
        rows.append(psnr(generator.render(scene, truth.camera).require("image"), truth.images))
    return float(torch.stack(rows).mean())


@torch.no_grad()
def rare(generator: Generator, heads: Heads, seeds: range) -> dict[str, dict[str, float]]:
    """How much of the change that a rare attribute makes in the picture the generator makes too.

    The share is the regression of the generated change on the true one: 1 is right, 0 is missing.
    """
    result = {}
    for name, value in RARE.items():
        top = bottom = error = 0.0
        for seed in seeds:
            z = z_of_seed(seed).repeat(2, 1)
            z[:, NAMES["gender"]], z[:, NAMES["age"]] = -1.5, 1.0
            z[0, NAMES[name]], z[1, NAMES[name]] = -1.0, value
            truth = [photograph(heads.build(row[None]), [(0.0, 0.0)], 128) for row in z]
            scenes = generator.synthesize(generator.map(z))
            camera = Camera.cat([capture.camera for capture in truth])
            made = generator.render(scenes, camera).require("image")
            wanted = torch.cat([capture.images for capture in truth])
            change, true_change = made[1] - made[0], wanted[1] - wanted[0]
            top += float((change * true_change).sum())
            bottom += float(true_change.square().sum())
            error += float(psnr(made[1:], wanted[1:]))
        result[name] = {"share": top / bottom, "psnr": error / len(seeds)}
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
        method = context.method("multiview", options, generator)
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


@click.command()
@click.option("--network", type=click.Choice(NETWORKS), default="minihead", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON file to write.")
@click.option("--weights", type=click.Path(path_type=Path), help="Instead of the embedded ones.")
@click.option("--identities", default=64, show_default=True, help="Held-out heads for pictures.")
@click.option("--fits", default=8, show_default=True, help="Held-out heads for W+ fits.")
@click.option("--steps", default=200, show_default=True, help="Of a W+ fit.")
def main(
    network: str, out: Path, weights: Path | None, identities: int, fits: int, steps: int
) -> None:
    """Write the numbers of the model card."""
    generator, heads = load(network, weights), Heads()
    first = EVALUATION.start
    numbers: dict[str, object] = {"fingerprint": generator.spec.fingerprint}
    numbers["from_z"] = from_z(generator, heads, range(first, first + identities))
    few = range(first, first + min(16, identities))
    numbers["rare"] = rare(generator, heads, few)
    numbers["white_hair_from_behind"] = behind(generator, heads, few)
    if fits:
        numbers["wplus"] = fit(generator, heads, range(first, first + fits), steps)
    write_json(out, numbers)
    print(out.read_text())


if __name__ == "__main__":
    main()
