"""Colours: smooth parts at vertices, crisp parts (eyes, brows, hairline, cloth) at each pixel.

Shading depends on the surface, never on the viewer, so every view of a head agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tools.minihead.headbase import LASHES, LEFT_EYE, RIGHT_EYE, SKIN, TEETH, TONGUE
from tools.minihead.params import Params, ramp

# Part numbers, attributes and colours [P, 3] of surface points to other colours.
Painter = Callable[[Tensor, Tensor, Tensor], Tensor]
HAIR, CAP = 6, 7
REST, LIGHT, BASE = slice(0, 3), slice(3, 6), slice(6, 9)
HAIR_FIELD, BEARD, CLOTH = 9, 10, 11
CHANNELS = 12
PIXEL_PARAMS = (
    ("hair", 3),
    ("iris", 3),
    ("cloth", 3),
    ("brow", 1),
    ("brow_width", 1),
    ("bald", 1),
    ("wave", 1),
    ("phase", 1),
    ("grey", 1),
    ("beard", 1),
    ("moustache", 1),
)


def step(x: Tensor, width: float) -> Tensor:
    """Soft step: 0 below, 1 above zero."""
    return torch.sigmoid(x / width)


def blend(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Blends the last (colour) dimension by `weight`, which lacks it."""
    return a + (b - a) * weight[..., None]


def light(normal: Tensor, occlusion: Tensor, p: Params) -> Tensor:
    """Soft light [B, V, 3]: an ambient dome and one wrapped lamp.

    Args:
        normal: [B, V, 3] unit.
        occlusion: [B, V] or [V], 1 where nothing hides the sky.
    """
    lamp = (normal @ p["light"][:, :, None]).squeeze(-1)
    wrapped = ((lamp + 0.35) / 1.35).clamp(min=0) ** 1.3
    ambient = p["ambient"][:, None]
    dome = ambient * (0.72 + 0.28 * normal[..., 1]) * occlusion
    direct = (1.2 - 0.75 * ambient) * wrapped * (0.45 + 0.55 * occlusion)
    direct = direct + 0.2 * (0.2 - 0.8 * lamp).clamp(min=0)  # light thrown back by a room
    return dome[..., None] + direct[..., None] * p["tint"][:, None]


def skin_colour(p: Params, rest: Tensor, masks: dict[str, Tensor]) -> Tensor:
    """Smooth skin colour [B, V, 3] at resting skin points [V, 3]."""
    x, y, z = rest.unbind(-1)
    skin = p["skin"][:, None]
    tone = torch.tensor
    front = step(z - 0.8, 0.06)
    mottle = torch.sin(5 * x + 3 * y + p["phase"][:, None]) * torch.sin(7 * y - 4 * z)
    colour = skin * (1 + 0.015 * mottle)[..., None]
    rosy = skin * tone([1.06, 0.74, 0.72], device=rest.device)
    cheek = torch.exp(-((x.abs() - 0.45) ** 2 + (y - 6.9) ** 2) / 0.05) * front
    nose = torch.exp(-(x**2 + (y - 6.93) ** 2) / 0.02) * step(z - 1.4, 0.03)
    colour = blend(colour, rosy, (cheek + 0.7 * nose).clamp(max=1) * p["blush"][:, None])
    colour = blend(colour, rosy, 0.35 * masks["ears"].expand(len(skin), -1))
    lips = skin * tone([0.92, 0.55, 0.54], device=rest.device)
    colour = blend(colour, lips, masks["lips"] * p["lips"][:, None])
    mouth = tone([0.34, 0.12, 0.11], device=rest.device)
    colour = blend(colour, mouth, masks["inside-mouth"].expand(len(skin), -1))
    return blend(colour, skin * 0.8, 0.45 * masks["eyelids"].expand(len(skin), -1))


def beard_field(density: Params, rest: Tensor) -> Tensor:
    """Density in [0, 1] of beard and moustache at resting skin points [..., 3].

    Args:
        density: "beard" and "moustache", of any shape that broadcasts against the points.
    """
    x, y, z = rest.unbind(-1)
    side = x.abs()
    upper = 6.56 + 0.25 * side + 0.55 * (side - 0.45).clamp(min=0)
    jaw = step(upper - y, 0.035) * step(y - 5.98 - 0.25 * side, 0.06) * step(z - 0.55, 0.06)
    burns = step(side - 0.68, 0.03) * step(7.15 - y, 0.05) * step(y - 6.5, 0.05)
    jaw = torch.maximum(jaw, burns * step(z - 0.66, 0.04))
    lip = step(0.34 - side, 0.03) * step(6.87 - y, 0.02) * step(y - 6.5, 0.03) * step(z - 1.2, 0.05)
    return torch.maximum(density["beard"] * jaw, density["moustache"] * lip)


def bare_mouth(masks: dict[str, Tensor]) -> Tensor:
    """[V] in [0, 1], zero on lips and in the mouth, where no beard grows."""
    return (1 - ramp(masks["lips"], 0.35, 0.8)) * (1 - masks["inside-mouth"]).clamp(0, 1)


def cloth_field(rest: Tensor) -> Tensor:
    """[V], positive where a shirt covers the resting skin."""
    x, y, z = rest.unbind(-1)
    axis = 0.2 + 0.25 * (y - 5.7).clamp(0, 0.6)
    collar = torch.sqrt(x**2 + (z - axis) ** 2) - 0.6
    return torch.minimum(collar, 6.1 - 0.35 * z.clamp(0, 1) - y)


def pixel_table(p: Params) -> Tensor:
    """Packs the parameters that `shade` reads at each pixel: [B, K]."""
    return torch.cat([p[name].reshape(-1, width) for name, width in PIXEL_PARAMS], 1)


def unpack(table: Tensor) -> dict[str, Tensor]:
    """Undoes `pixel_table` for rows [P, K]: colours [P, 3] and numbers [P]."""
    widths = [width for _, width in PIXEL_PARAMS]
    pieces = zip(PIXEL_PARAMS, table.split(widths, 1), strict=True)
    return {name: piece if width == 3 else piece[:, 0] for (name, width), piece in pieces}


def shade(
    part: Tensor,
    values: Tensor,
    table: Tensor,
    row: Tensor,
    eyes: Tensor,
    extras: Sequence[Painter] = (),
) -> Tensor:
    """Colours [P, 3] of surface points.

    Args:
        part: [P] part numbers.
        values: [P, CHANNELS] interpolated attributes.
        table: [B, K] from `pixel_table`.
        row: [P] row of the table that each point belongs to.
        eyes: [2, 3] resting centres of the eyeballs.
        extras: what else is painted, in this order.
    """
    colour = values[:, BASE].clone()
    painters = {
        SKIN: paint_skin,
        HAIR: lambda v, q: hair_colour(v[:, REST], q),
        LASHES: lambda v, q: q["hair"] * 0.35,
        CAP: lambda v, q: q["cloth"],
        LEFT_EYE: lambda v, q: paint_eye(v[:, REST] - eyes[0], q),
        RIGHT_EYE: lambda v, q: paint_eye(v[:, REST] - eyes[1], q),
    }
    for number, painter in painters.items():
        chosen = torch.nonzero(part == number).squeeze(1)
        colour[chosen] = painter(values[chosen], unpack(table[row[chosen]]))
    for extra in extras:
        colour = extra(part, values, colour)
    return soft_clip(colour * values[:, LIGHT])


def soft_clip(colour: Tensor) -> Tensor:
    """Rolls highlights off below 1: linear up to about 0.7."""
    return colour / (1 + colour.clamp(min=0) ** 6) ** (1 / 6)


def hair_colour(rest: Tensor, q: dict[str, Tensor]) -> Tensor:
    """Colour [P, 3] of locks of hair."""
    x, y, z = rest.unbind(-1)
    phase, wave = q["phase"], q["wave"]
    azimuth = torch.atan2(x, z - 0.3)
    bend = 0.25 * torch.sin(3.1 * y + phase) + wave * 0.3 * torch.sin(9 * y + 5 * azimuth)
    fine = torch.sin(46 * (azimuth + 0.3 * bend) + 2 * y)
    broad = torch.sin(19 * (azimuth + bend) - 1.3 * y + phase)
    return q["hair"] * (1 + 0.10 * fine + 0.13 * broad)[:, None]


def paint_skin(values: Tensor, q: dict[str, Tensor]) -> Tensor:
    """Skin with brows, beard, the roots of the hair and clothes."""
    rest, base = values[:, REST], values[:, BASE]
    hair = hair_colour(rest, q)
    x, y, z = rest.unbind(-1)
    side = x.abs()
    arch = 7.515 + 0.035 * (1 - ((side - 0.37) / 0.22) ** 2)
    width = q["brow_width"] * (1.15 - 0.9 * (side - 0.2).clamp(0, 0.5))
    brow = torch.exp(-(((y - arch) / width) ** 2)) * step(side - 0.12, 0.015)
    brow = brow * step(0.56 - side, 0.02) * step(z - 0.9, 0.03)
    colour = blend(base, q["hair"] * 0.8, (brow * 1.1).clamp(max=1) * q["brow"])
    bend = torch.sin(11 * y + 5 * x) + torch.sin(7 * x - 9 * y + 4 * z)
    grain = 1 + 0.14 * torch.sin(33 * x + 2.5 * bend) * torch.sin(23 * y - 9 * z + 3 * bend)
    beard = (beard_field(q, rest) * values[:, BEARD] * 1.05 * grain).clamp(0, 0.92)
    colour = blend(colour, hair * 0.9, beard)
    roots = step(values[:, HAIR_FIELD] + 0.01, 0.025) * (1 - 0.93 * q["bald"])
    colour = blend(colour, hair * 0.9, roots * step(y - 5.9, 0.05))
    return blend(colour, q["cloth"], step(values[:, CLOTH], 0.008))


def paint_eye(local: Tensor, q: dict[str, Tensor]) -> Tensor:
    """Eyeball: white, iris with a dark rim, pupil and a small fixed glint."""
    radius = local[:, :2].norm(dim=-1) + (local[:, 2] < 0) * 9.0
    white = torch.tensor([0.93, 0.91, 0.89], device=local.device).expand_as(local)
    rim = q["iris"] * 0.45
    colour = blend(white, rim, step(0.074 - radius, 0.004))
    colour = blend(colour, q["iris"] * 1.15, step(0.064 - radius, 0.006))
    colour = blend(colour, torch.full_like(local, 0.02), step(0.031 - radius, 0.004))
    glint = local[:, :2] - torch.tensor([0.028, 0.032], device=local.device)
    return blend(colour, torch.ones_like(local), 0.8 * step(0.014 - glint.norm(dim=-1), 0.003))


def part_colours(part: Tensor) -> Tensor:
    """Base colours [V, 3] of vertices that are no skin: teeth, tongue, the rest grey."""
    colour = torch.full((len(part), 3), 0.5, device=part.device)
    colour[part == TEETH] = torch.tensor([0.90, 0.87, 0.80], device=part.device)
    colour[part == TONGUE] = torch.tensor([0.62, 0.28, 0.27], device=part.device)
    return colour


def neck_shadow(p: Params, rest: Tensor) -> Tensor:
    """Occlusion [B, V] that long hair throws on the neck and the ears' surroundings."""
    x, y, z = rest.unbind(-1)
    azimuth = torch.atan2(x, z - 0.3).abs()
    near = ramp(azimuth, 0.5, 1.4) * ramp(-y, -7.3, -6.7) * ramp(y, 5.6, 6.0)
    return 1 - 0.45 * p["long"][:, None] * near
