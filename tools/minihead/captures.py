"""Captures: views of one head with cameras, masks, exact depth and what made them.

A capture folder or zip holds `00000.png ...`, EG3D's `dataset.json`, `masks/`, `depth/` (16 bit,
value times the scale in `depth.json` is the distance along the unit ray, 0 is no surface) and
`identity.json`.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tools.minihead.cameras import FOCAL, orbit, sample_angles
from tools.minihead.extras import add_extras
from tools.minihead.heads import HeadBatch, Heads
from tools.minihead.layout import LAYOUT, NAMES
from tools.minihead.params import Params
from tools.minihead.raster import render
from tools.minihead.seeds import z_of_seed

DEPTH_SCALE = 2.0**-14
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
Route = Literal["sweep", "orbit", "random"]


@dataclass
class Capture:
    """N rendered views of one person.

    Attributes:
        rgb: [N, 3, R, R] in [0, 1].
        mask: [N, 1, R, R] in [0, 1].
        depth: [N, 1, R, R] along the unit ray, 0 where no surface.
        cam2world: [N, 4, 4].
        heads: the head of every view, or one head for all.
        seed: of the identity.
        z: [52].
        extras: names of details that z doesn't make.
    """

    rgb: Tensor
    mask: Tensor
    depth: Tensor
    cam2world: Tensor
    heads: HeadBatch
    seed: int
    z: Tensor
    extras: tuple[str, ...] = ()


def route(kind: Route, views: int, seed: int, reach: float = math.radians(70)) -> Tensor:
    """Cameras [views, 4, 4].

    Args:
        kind: "sweep" turns from -reach to reach with a slight nod, "orbit" once all around,
            "random" as in training.
        seed: of the nod or of the random cameras.
        reach: radians.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "random":
        yaw, pitch = sample_angles(1, views, generator)
        return orbit(yaw[0], pitch[0])
    time = torch.linspace(0, 1, views) if views > 1 else torch.full((1,), 0.5)
    phase = torch.rand(1, generator=generator) * 2 * math.pi
    pitch = 0.09 * torch.sin(2.6 * math.pi * time + phase)
    if kind == "orbit":
        turn = torch.arange(views) / views
        return orbit(turn * 2 * math.pi, torch.zeros(views))
    return orbit((2 * time - 1) * reach, pitch)


def motion(frames: int) -> Params:
    """Expression of each frame [frames]: two blinks, a moving jaw, a growing smile.

    Blinks lie at about a quarter and three quarters of the way; around the middle the eyes are
    open and the mouth is nearly closed.
    """
    time = torch.linspace(0, 1, frames) if frames > 1 else torch.full((1,), 0.5)

    def pulse(centre: float, width: float) -> Tensor:
        return torch.exp(-(((time - centre) / width) ** 2))

    return {
        "blink": (1.25 * (pulse(0.24, 0.03) + pulse(0.77, 0.03))).clamp(0, 1),
        "jaw": 0.32 * pulse(0.1, 0.07) + 0.22 * pulse(0.35, 0.05) + 0.36 * pulse(0.66, 0.07),
        "smile": 0.1 + 0.6 * pulse(0.88, 0.16) + 0.25 * pulse(0.5, 0.12),
        "brow_raise": 0.5 * pulse(0.35, 0.08) + 0.3 * pulse(0.66, 0.08),
        "frown": 0.35 * pulse(0.12, 0.08),
        "pucker": 0.35 * pulse(0.42, 0.03),
        "gaze_x": 0.10 * torch.sin(2 * math.pi * time),
        "gaze_y": 0.04 * torch.sin(4 * math.pi * time),
    }


def neutral() -> Params:
    """Expression [1] of a calm face with open eyes."""
    return {name: torch.zeros(1) for name in motion(1)} | {"smile": torch.full((1,), 0.1)}


def make_capture(
    heads: Heads,
    seed: int,
    cam2world: Tensor,
    resolution: int,
    expression: Params | None = None,
    supersample: int = 2,
    extras: Sequence[str] = (),
) -> Capture:
    """Renders one person.

    Args:
        seed: of the identity.
        cam2world: [N, 4, 4].
        expression: parameters [1] for a still head or [N] for a moving one; None for the
            expression of z.
        supersample: subsamples a pixel along each axis.
        extras: details that no z makes, of `extras.EXTRAS`.
    """
    z = z_of_seed(seed)
    row = z[None].to(heads.device)
    face = heads.expression(row) if expression is None else expression
    face = {name: value.to(heads.device) for name, value in face.items()}
    moments = len(face["blink"])
    batch = add_extras(heads.build(row.expand(moments, -1), expression=face), extras)
    cameras = cam2world.to(heads.device).unflatten(0, (moments, -1))
    images = render(batch, cameras, FOCAL, resolution, supersample)
    flat = {name: value.flatten(0, 1).cpu() for name, value in images.items()}
    made = (cam2world, batch, seed, z, tuple(extras))
    return Capture(flat["rgb"], flat["mask"], flat["depth"], *made)


def label(cam2world: Tensor, focal: float = FOCAL) -> list[float]:
    """EG3D's 25 numbers: cam2world row by row, then intrinsics divided by the image size."""
    intrinsics = [focal, 0.0, 0.5, 0.0, focal, 0.5, 0.0, 0.0, 1.0]
    return [round(x, 8) for x in cam2world.double().flatten().tolist()] + intrinsics


def describe(capture: Capture) -> dict[str, object]:
    """What made the capture, for `identity.json`."""
    first = {name: value[0].tolist() for name, value in capture.heads.params.items()}
    faces = {name: value.tolist() for name, value in capture.heads.expression.items()}
    return {
        "seed": capture.seed,
        "z": capture.z.tolist(),
        "groups": {name: [s.start, s.stop] for name, s in LAYOUT.items()},
        "names": {name: [s.start, s.stop] for name, s in NAMES.items()},
        "identity": first,
        "expression": faces,
        "extras": list(capture.extras),
    }


def files(capture: Capture, mesh: bool = False) -> Iterator[tuple[str, bytes]]:
    """Names and contents of everything in the capture's folder."""
    names = [f"{k:05d}.png" for k in range(len(capture.rgb))]
    labels = [[n, label(m)] for n, m in zip(names, capture.cam2world, strict=True)]
    yield "dataset.json", json.dumps({"labels": labels}).encode()
    yield "identity.json", json.dumps(describe(capture), indent=1).encode()
    depth = {"scale": DEPTH_SCALE, "kind": "ray", "unit": "world"}
    yield "depth.json", json.dumps(depth).encode()
    for k, name in enumerate(names):
        colour = capture.rgb[k].permute(1, 2, 0).mul(255).round().byte().numpy()
        yield name, _png(colour)
        yield f"masks/{name}", _png(capture.mask[k, 0].mul(255).round().byte().numpy())
        distance = (capture.depth[k, 0] / DEPTH_SCALE).round().numpy().astype(np.uint16)
        yield f"depth/{name}", _png(distance)
    if mesh:
        for k in range(len(capture.heads.vertices)):
            yield f"mesh/{k:05d}.ply", _ply(capture.heads, k)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _ply(heads: HeadBatch, k: int) -> bytes:
    """Binary PLY of one head, coloured at vertices."""
    import trimesh

    mesh = trimesh.Trimesh(
        heads.vertices[k].cpu().numpy(),
        heads.faces.cpu().numpy(),
        vertex_colors=(heads.colours[k].cpu() * 255).round().byte().numpy(),
        process=False,
    )
    return bytes(mesh.export(file_type="ply"))


def write_folder(capture: Capture, folder: Path, mesh: bool = False) -> None:
    """Writes the capture into a new folder; it appears under its name only when complete."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    partial = folder.with_name(folder.name + ".partial")
    for name, content in files(capture, mesh):
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    partial.rename(folder)


def write_zip(capture: Capture, path: Path, mesh: bool = False) -> None:
    """Writes the capture into a zip whose bytes depend on the contents alone."""
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, content in files(capture, mesh):
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    partial.rename(path)
