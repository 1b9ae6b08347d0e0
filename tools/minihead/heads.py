"""Procedural human heads in batched torch: z ~ N(0, I) drives everything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tools.minihead import paint
from tools.minihead.hair import HairField, HairShell
from tools.minihead.headbase import (
    AGES,
    ETHNICITIES,
    GENDERS,
    LASHES,
    LEFT_EYE,
    RIGHT_EYE,
    SKIN,
    TEETH,
    TONGUE,
)
from tools.minihead.layout import LAYOUT, NAMES, SHAPE_DIMS, Z_DIM
from tools.minihead.params import Params, expression, identity_params, scene_params
from tools.minihead.shapes import shape_axes
from tools.minihead.shell import shell_quads
from tools.minihead.topology import boundary_loop, catmull_clark, triangles, vertex_normals

__all__ = ["LAYOUT", "NAMES", "Z_DIM", "HeadBatch", "Heads"]

BAKE_PATH = Path(__file__).with_name("headbase.safetensors")
SCALE = 0.182  # world units a decimetre
PIVOT = (0.0, 7.2, 0.42)
EYES_AT = (0.0, 7.28, 1.15)
UNITS = {
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "jaw": {
        "jawOpen": 1.0,
        "mouthUpperUpLeft": 0.5,
        "mouthUpperUpRight": 0.5,
        "mouthLowerDownLeft": 0.2,
        "mouthLowerDownRight": 0.2,
    },
    "smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
    "brow_raise": {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
    "frown": {
        "mouthFrownLeft": 1.0,
        "mouthFrownRight": 1.0,
        "browDownLeft": 1.0,
        "browDownRight": 1.0,
    },
    "pucker": {"mouthPucker": 1.0},
}
RESTING_UNITS = {"eyeWideLeft": 0.35, "eyeWideRight": 0.35}


@dataclass
class HeadBatch:
    """Heads of one topology, ready for `raster.render`.

    Attributes:
        vertices: [B, V, 3] world units.
        attributes: [B, V, 12], see `paint`.
        faces: [F, 3].
        two_sided: [F] bool.
        face_part: [F] part number of each face.
        table: [B, K] parameters read at each pixel.
        eyes: [2, 3] resting centres of the eyeballs.
        params: identity and scene parameters by name.
        expression: expression parameters by name.
        painters: what paints extras over the colours, see `extras`.
    """

    vertices: Tensor
    attributes: Tensor
    faces: Tensor
    two_sided: Tensor
    face_part: Tensor
    table: Tensor
    eyes: Tensor
    params: Params
    expression: Params
    painters: tuple[paint.Painter, ...] = ()

    def shade(self, head: Tensor, face: Tensor, attributes: Tensor) -> Tensor:
        """Colours [P, 3] in [0, 1] of P surface points."""
        part = self.face_part[face]
        return paint.shade(part, attributes, self.table, head, self.eyes, self.painters)

    @property
    def colours(self) -> Tensor:
        """Vertex colours [B, V, 3], for meshes."""
        batch, count = self.vertices.shape[:2]
        part = torch.zeros(count, dtype=self.face_part.dtype, device=self.vertices.device)
        part[self.faces.flatten()] = self.face_part.repeat_interleave(3)
        row = torch.arange(batch, device=part.device).repeat_interleave(count)
        values = self.attributes.flatten(0, 1)
        colour = paint.shade(part.repeat(batch), values, self.table, row, self.eyes, self.painters)
        return colour.view(batch, count, 3)


class Heads:
    """The head model, loaded from the bake."""

    def __init__(self, device: torch.device | str = "cpu", path: Path = BAKE_PATH) -> None:
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run `python -m tools.minihead.bake`")
        with safe_open(path, "pt") as file:
            self.names: list[str] = json.loads(file.metadata()["targets"])
            baked = {key: file.get_tensor(key) for key in file.keys()}
        self.device = torch.device(device)
        self._load_topology(baked)
        self._load_targets(baked)
        self._load_shell(baked)

    def _load_topology(self, baked: dict[str, Tensor]) -> None:
        quads, parts = baked["quads"].long(), baked["parts"].long()
        coarse = baked["vertices"].float()
        self.part_of_coarse = torch.zeros(len(coarse), dtype=torch.long)
        self.part_of_coarse[quads.flatten()] = parts.repeat_interleave(4)
        matrix, fine = catmull_clark(quads, len(coarse))
        rest = matrix @ coarse
        fine_part = parts.repeat(4)
        part = torch.zeros(len(rest), dtype=torch.long)
        part[fine.flatten()] = fine_part.repeat_interleave(4)
        masks = {
            k.removeprefix("mask_"): matrix @ (v.float() / 255)
            for k, v in baked.items()
            if k.startswith("mask_")
        }
        loop = boundary_loop(fine[fine_part == SKIN])
        on_loop = torch.unique(loop)
        hub = len(rest) + len(baked["shell_index"])
        cap = torch.cat([loop.flip(1), torch.full((len(loop), 1), hub)], 1)
        shell = triangles(shell_quads()) + len(rest)
        faces = [triangles(fine), shell, cap]
        kinds = [
            fine_part.repeat(2),
            torch.full((len(shell),), paint.HAIR),
            torch.full((len(cap),), paint.CAP),
        ]
        to = self.device
        self.coarse, self.matrix, self.rest = coarse.to(to), matrix.to(to), rest.to(to)
        self.part, self.loop = part.to(to), on_loop.to(to)
        self.masks = {k: v.to(to) for k, v in masks.items()}
        self.occlusion = baked["occlusion"].to(to).float() / 255
        self.faces, self.face_part = torch.cat(faces).to(to), torch.cat(kinds).to(to)
        self.two_sided = self.face_part == LASHES
        self.rest_normals = vertex_normals(self.rest[None], triangles(fine).to(to))[0]
        self.lips = torch.nonzero(baked["mask_lips"] > 127).squeeze(1).to(to)
        numbers = (LEFT_EYE, RIGHT_EYE)
        self.eye_index = [
            torch.nonzero(self.part_of_coarse == e).squeeze(1).to(to) for e in numbers
        ]
        self.eyes = torch.stack([self.rest[self.part == e].mean(0) for e in numbers])
        self.skin_hair = HairField(self.rest)
        self.ears = 0.15 * self.rest[:, 0].sign() * self.masks["ears"].clamp(0, 1)
        self.cloth = paint.cloth_field(self.rest)
        self.beardable = paint.bare_mouth(self.masks) * (self.part == SKIN)
        self.shirt = torch.sigmoid(self.cloth / 0.02) * (self.part == SKIN)

    def _load_targets(self, baked: dict[str, Tensor]) -> None:
        sizes = baked["target_size"].long()
        owner = torch.arange(len(sizes)).repeat_interleave(sizes)
        delta = baked["target_delta"].float() * baked["target_scale"][owner, None]
        dense = torch.zeros(len(sizes), len(self.coarse), 3)
        dense[owner, baked["target_index"].long()] = delta
        self.targets = dense.flatten(1).to(self.device)
        axes = shape_axes(self.names)
        # Fewer numbers than are baked: what is left is calmer, half of the variance.
        self.mix = baked["shape_mix"][:, :SHAPE_DIMS].to(self.device)
        self.spread = torch.tensor([a.spread for a in axes], device=self.device)
        ends = torch.zeros(2, len(axes), len(self.names))
        for row, axis in enumerate(axes):
            ends[0, row, axis.positive] = 1
            ends[1, row, axis.negative] = 1
        self.ends = ends.to(self.device)
        self.number = {name: i for i, name in enumerate(self.names)}

    def _load_shell(self, baked: dict[str, Tensor]) -> None:
        self.shell = HairShell(baked["shell_radius"].to(self.device).float())
        self.shell_index = baked["shell_index"].to(self.device).long()
        self.shell_weight = baked["shell_weight"].to(self.device).float()

    def sample_z(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, 52] from N(0, I), drawn on the generator's device, moved to the model's."""
        return torch.randn(n, Z_DIM, generator=generator, device=generator.device).to(self.device)

    def params(self, z: Tensor) -> Params:
        """Named identity, appearance, clothes and light parameters of z [B, 52]."""
        return identity_params(z) | scene_params(z)

    def expression(self, z: Tensor) -> Params:
        """Named expression parameters of z [B, 52]."""
        return expression(z)

    @torch.no_grad()
    def build(
        self, z: Tensor, params: Params | None = None, expression: Params | None = None
    ) -> HeadBatch:
        """Builds the heads of z [B, 52]; given parameters replace those of z."""
        person = self.params(z) if params is None else params
        face = self.expression(z) if expression is None else expression
        neutral, posed = self._morph(person, face)
        fine = self._subdivide(posed)
        density = {name: person[name][:, None] for name in ("beard", "moustache")}
        beard = paint.beard_field(density, self.rest) * self.beardable
        fine[..., 0] -= self.ears * person["cover"][:, None]
        thick = 0.09 * person["beard_length"][:, None] * beard + 0.035 * self.shirt
        fine = fine + thick[..., None] * self.rest_normals
        field, lift = self.shell.lift(person)
        hair = self._attach(neutral) + lift[..., None] * self.shell.direction
        hub = fine[:, self.loop].mean(1, keepdim=True)
        vertices = below_frame(torch.cat([fine, hair, hub], 1))
        normals = vertex_normals(vertices, self.faces[self.face_part != paint.CAP])
        return HeadBatch(
            vertices=(vertices - vertices.new_tensor(PIVOT)) * SCALE,
            attributes=self._attributes(person, normals, field),
            faces=self.faces,
            two_sided=self.two_sided,
            face_part=self.face_part,
            table=paint.pixel_table(person),
            eyes=self.eyes,
            params=person,
            expression=face,
        )

    def _morph(self, person: Params, face: Params) -> tuple[Tensor, Tensor]:
        """Coarse vertices [B, V, 3] without and with expression, eyes at a fixed place."""
        batch = len(person["age"])
        neutral = self.coarse + (self._person_weights(person) @ self.targets).view(batch, -1, 3)
        eyes = [neutral[:, index].mean(1) for index in self.eye_index]
        middle = (eyes[0] + eyes[1]) / 2
        span = (eyes[0] - eyes[1]).norm(dim=-1)
        height = (middle - neutral[:, self.lips].mean(1)).norm(dim=-1)
        scale = (0.4 + 0.3 * (0.95 / height + 0.62 / span))[:, None, None]
        moved = neutral + (self._face_weights(face) @ self.targets).view(batch, -1, 3)
        for index, centre in zip(self.eye_index, eyes, strict=True):
            moved[:, index] = _turn(moved[:, index], centre, face["gaze_x"], face["gaze_y"])
        place = neutral.new_tensor(EYES_AT)
        return tuple(
            bust((points - middle[:, None]) * scale + place) for points in (neutral, moved)
        )

    def _person_weights(self, p: Params) -> Tensor:
        """Weights [B, T] of all targets for the person."""
        axis = torch.tanh(p["shape"] @ self.mix.T * self.spread)
        weights = axis.clamp(min=0) @ self.ends[0] + (-axis).clamp(min=0) @ self.ends[1]
        age = p["age"]
        child, old = (0.35 - age).clamp(min=0) / 0.35 * 0.5, (age - 0.6).clamp(min=0) / 0.4
        ages = dict(zip(AGES, (child, 1 - child - old, old), strict=True))
        genders = dict(zip(GENDERS, (p["gender"], 1 - p["gender"]), strict=True))
        thin, fat = (-p["weight"]).clamp(min=0), p["weight"].clamp(min=0)
        builds = {"minweight": thin, "averageweight": 1 - thin - fat, "maxweight": fat}
        for gender, a in genders.items():
            for age_name, b in ages.items():
                for k, ethnicity in enumerate(ETHNICITIES):
                    number = self.number[f"macro/{ethnicity}-{gender}-{age_name}"]
                    weights[:, number] = a * b * p["ethnicity"][:, k]
                for build, c in builds.items():
                    number = self.number.get(f"weight/{gender}-{age_name}-{build}")
                    if number is not None:
                        weights[:, number] = a * b * c
        return weights

    def _face_weights(self, face: Params) -> Tensor:
        """Weights [B, T] of the face units."""
        weights = torch.zeros(len(face["blink"]), len(self.names), device=self.device)
        for name, units in UNITS.items():
            for unit, share in units.items():
                weights[:, self.number[f"unit/{unit}"]] += share * face[name]
        for unit, share in RESTING_UNITS.items():
            weights[:, self.number[f"unit/{unit}"]] += share * (1 - face["blink"])
        return weights

    def _subdivide(self, coarse: Tensor) -> Tensor:
        """Coarse [B, V, 3] to fine vertices."""
        batch, count, _ = coarse.shape
        flat = coarse.permute(1, 0, 2).reshape(count, -1)
        return torch.sparse.mm(self.matrix, flat).view(-1, batch, 3).transpose(0, 1).contiguous()

    def _attach(self, neutral: Tensor) -> Tensor:
        """Hair roots [B, S, 3]: the resting shell carried along with the skin near it."""
        moved = neutral - self.coarse
        carried = sum(
            moved[:, self.shell_index[:, k]] * self.shell_weight[:, k, None]
            for k in range(self.shell_index.shape[1])
        )
        return self.shell.rest + carried

    def _attributes(self, person: Params, normals: Tensor, shell_field: Tensor) -> Tensor:
        batch, skin, hair = len(normals), len(self.rest), len(self.shell.rest)
        values = torch.zeros(batch, normals.shape[1], paint.CHANNELS, device=self.device)
        values[:, :skin, paint.REST] = self.rest
        values[:, skin : skin + hair, paint.REST] = self.shell.rest
        eyes = (self.part == LEFT_EYE) | (self.part == RIGHT_EYE)
        teeth = (self.part == TEETH) | (self.part == TONGUE)
        bare = torch.where(eyes, 0.8 + 0.2 * self.occlusion, 0.25 + 0.75 * self.occlusion)
        bare = torch.where(teeth, 0.7, bare)
        occlusion = torch.ones(batch, normals.shape[1], device=self.device)
        occlusion[:, :skin] = bare * paint.neck_shadow(person, self.rest)
        lit = paint.light(normals, occlusion, person)
        lit[:, -1] = lit[:, self.loop].mean(1)  # the hub that closes the bust below
        values[..., paint.LIGHT] = lit
        colour = paint.skin_colour(person, self.rest, self.masks)
        other = paint.part_colours(self.part)
        values[:, :skin, paint.BASE] = torch.where((self.part == SKIN)[:, None], colour, other)
        values[:, :skin, paint.HAIR_FIELD] = self.skin_hair(person) - self.masks["ears"]
        values[:, skin : skin + hair, paint.HAIR_FIELD] = shell_field
        values[:, :skin, paint.BEARD] = self.beardable
        values[:, :skin, paint.CLOTH] = self.cloth
        return values


def bust(points: Tensor) -> Tensor:
    """Rounds the shoulders off into a bust: [.., 3] decimetres, above the neck unchanged."""
    x, y, z = points.unbind(-1)
    ratio = torch.sqrt((x / 1.75) ** 2 + ((z - 0.15) / 1.15) ** 2 + 1e-9)
    limited = torch.where(ratio > 0.8, 0.8 + 0.2 * torch.tanh((ratio - 0.8) / 0.2), ratio)
    factor = torch.lerp(torch.ones_like(y), limited / ratio, ((6.2 - y) / 0.3).clamp(0, 1))
    return torch.stack([x * factor, y, 0.15 + (z - 0.15) * factor], -1)


def below_frame(points: Tensor, start: float = 8.6, reach: float = 0.25) -> Tensor:
    """Softly limits height to `start + reach` decimetres, so that tall hair stays in the frame."""
    x, y, z = points.unbind(-1)
    limited = start + reach * torch.tanh((y - start) / reach)
    return torch.stack([x, torch.where(y > start, limited, y), z], -1)


def _turn(points: Tensor, centre: Tensor, yaw: Tensor, pitch: Tensor) -> Tensor:
    """Turns eyeballs [B, E, 3] about `centre` [B, 3]; positive yaw looks to +x, pitch up."""
    x, y, z = (points - centre[:, None]).unbind(-1)
    s, c = yaw.sin()[:, None], yaw.cos()[:, None]
    x, z = c * x + s * z, c * z - s * x
    s, c = pitch.sin()[:, None], pitch.cos()[:, None]
    y, z = c * y + s * z, c * z - s * y
    return torch.stack([x, y, z], -1) + centre[:, None]
