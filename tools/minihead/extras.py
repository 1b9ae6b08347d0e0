"""Details that no z makes: a testbed of what a generator can't know.

They're painted on the skin, hair and clothes of a head, or worn in front of it (glasses). Captures
may carry them; training heads never do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from tools.minihead import paint
from tools.minihead.headbase import SKIN
from tools.minihead.heads import EYES_AT, PIVOT, SCALE, HeadBatch
from tools.minihead.paint import CLOTH, HAIR, LIGHT, REST, blend, step
from tools.minihead.topology import vertex_normals

GLASSES = 8  # the part's number
BAND, MARK, FRECKLE, STRIPE, FRAME = (
    (0.80, 0.12, 0.16), (0.20, 0.10, 0.09), (0.45, 0.24, 0.14), (0.95, 0.94, 0.90),
    (0.05, 0.05, 0.06),
)  # fmt: skip
FRECKLES = 90
# Frames of glasses, decimetres: radius of a rim, thickness, half the distance of their middles,
# how far they stand before the eyes' middle, how far temples reach back.
RIM, WIRE, APART, BEFORE, TEMPLES = 0.235, 0.022, 0.315, 0.26, 0.95


def head_band(part: Tensor, values: Tensor, colour: Tensor) -> Tensor:
    """A band around forehead and hair, rising to the back."""
    y, z = values[:, REST].unbind(-1)[1:]
    beside = (y - 7.98 + 0.12 * (z - 0.5)).abs()
    worn = torch.isin(part, part.new_tensor([SKIN, HAIR]))
    colour = blend(colour, _tone(BAND, colour), step(0.12 - beside, 0.008) * worn)
    return blend(colour, _tone(STRIPE, colour), step(0.03 - beside, 0.008) * worn)


def cheek_mark(part: Tensor, values: Tensor, colour: Tensor) -> Tensor:
    """A dark mark on the left cheek."""
    x, y, z = values[:, REST].unbind(-1)
    away = torch.sqrt((x - 0.44) ** 2 + (y - 6.9) ** 2)
    on = step(0.075 - away, 0.01) * step(z - 0.6, 0.05) * (part == SKIN)
    return blend(colour, _tone(MARK, colour), 0.9 * on)


def freckles(part: Tensor, values: Tensor, colour: Tensor) -> Tensor:
    """Small spots over nose and cheeks, the same ones on every head."""
    rng = torch.Generator().manual_seed(11)
    spots = torch.rand(FRECKLES, 3, generator=rng).to(colour)
    x, y = 1.3 * spots[:, 0] - 0.65, 6.72 + 0.42 * spots[:, 1]
    size = 0.012 + 0.014 * spots[:, 2]
    rest = values[:, REST]
    away = torch.cdist(rest[:, :2], torch.stack([x, y], 1))
    spotted = step(size - away, 0.006).amax(1) if len(rest) else rest[:, 0]
    on = spotted * step(rest[:, 2] - 0.7, 0.05) * (part == SKIN)
    return blend(colour, _tone(FRECKLE, colour), 0.6 * on)


def collar_pattern(part: Tensor, values: Tensor, colour: Tensor) -> Tensor:
    """Light rings around the neck of the shirt."""
    cloth = values[:, CLOTH]
    rings = step(torch.sin(cloth * 2 * math.pi / 0.11), 0.15)
    on = rings * step(cloth - 0.01, 0.006) * (part == SKIN)
    return blend(colour, _tone(STRIPE, colour), 0.85 * on)


def _tone(value: tuple[float, float, float], like: Tensor) -> Tensor:
    return like.new_tensor(value).expand_as(like)


PAINTED: dict[str, paint.Painter] = {
    "head-band": head_band,
    "cheek-mark": cheek_mark,
    "freckles": freckles,
    "collar-pattern": collar_pattern,
}
EXTRAS = (*PAINTED, "glasses")


def add_extras(batch: HeadBatch, names: Iterable[str]) -> HeadBatch:
    """Return the heads with some of EXTRAS."""
    chosen = list(names)
    painters = tuple(PAINTED[name] for name in chosen if name in PAINTED)
    batch = replace(batch, painters=painters)
    return _with_glasses(batch) if "glasses" in chosen else batch


def _with_glasses(batch: HeadBatch) -> HeadBatch:
    """Hang frames before the eyes, which all heads have at the same place."""
    points, faces = (v.to(batch.vertices.device) for v in glasses())
    count = len(batch.vertices)
    world = ((points - points.new_tensor(PIVOT)) * SCALE).expand(count, -1, -1)
    values = batch.attributes.new_zeros(count, len(points), paint.CHANNELS)
    values[..., REST] = points
    values[..., LIGHT] = paint.light(
        vertex_normals(world, faces), points.new_ones(len(points)), batch.params
    )
    values[..., paint.BASE] = points.new_tensor(FRAME)
    part = torch.full((len(faces),), GLASSES, device=faces.device)
    return replace(
        batch,
        vertices=torch.cat([batch.vertices, world], 1),
        attributes=torch.cat([batch.attributes, values], 1),
        faces=torch.cat([batch.faces, faces + batch.vertices.shape[1]]),
        two_sided=torch.cat([batch.two_sided, part.new_ones(len(part), dtype=torch.bool)]),
        face_part=torch.cat([batch.face_part, part]),
    )


def glasses() -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] (decimetres) and faces [F, 3] of rims, bridge and temples."""
    turn = torch.linspace(0, 2 * math.pi, 49)
    middle = torch.tensor(EYES_AT) + torch.tensor([0.0, -0.03, BEFORE])
    ring = torch.stack([1.12 * turn.cos(), turn.sin(), 0 * turn], 1) * RIM
    along = torch.linspace(0, 1, 9)[:, None]
    wires = []
    for side in (-1.0, 1.0):
        centre = middle + torch.tensor([side * APART, 0.0, 0.0])
        # Rims follow the face: their outer ends lie further back.
        outwards = (ring[:, :1] * side).clamp(min=0)
        wires.append(centre + ring - outwards * torch.tensor([0.0, 0.0, 0.5]))
        hinge = centre + torch.tensor([side * 1.12 * RIM, 0.05, -0.13])
        ear = torch.tensor([side * 0.86, EYES_AT[1] + 0.05, hinge[2] - TEMPLES])
        wires.append(torch.lerp(hinge, ear, along))
    inner = APART - 1.12 * RIM
    ends = torch.tensor([[-inner, 0.05, 0.0], [inner, 0.05, 0.0]])
    bridge = middle + torch.lerp(ends[0], ends[1], along)
    bridge[:, 1] += 0.03 * (1 - (2 * along[:, 0] - 1) ** 2)
    wires.append(bridge)
    points, faces, at = [], [], 0
    for wire in wires:
        tube, cells = _tube(wire)
        points.append(tube)
        faces.append(cells + at)
        at += len(tube)
    return torch.cat(points), torch.cat(faces)


def _tube(path: Tensor, sides: int = 6) -> tuple[Tensor, Tensor]:
    """A tube of radius WIRE along a path [K, 3]: vertices [K * sides, 3] and faces."""
    ahead = torch.nn.functional.normalize(torch.gradient(path, dim=0)[0], dim=1)
    up = torch.tensor([0.05, 0.1, 1.0]).expand_as(ahead)
    first = torch.nn.functional.normalize(torch.linalg.cross(ahead, up), dim=1)
    second = torch.linalg.cross(ahead, first)
    turn = torch.arange(sides) * (2 * math.pi / sides)
    ring = first[:, None] * turn.cos()[:, None] + second[:, None] * turn.sin()[:, None]
    cell = torch.arange(len(path) * sides).view(len(path), sides)
    right = cell.roll(-1, 1)
    quads = torch.stack([cell[:-1], cell[1:], right[1:], right[:-1]], -1).view(-1, 4)
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return (path[:, None] + WIRE * ring).view(-1, 3), faces
