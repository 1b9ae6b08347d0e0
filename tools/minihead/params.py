"""From z to named, meaningful parameters. Rare attributes are made frequent here.

All ramps are wide: a small network follows what changes steadily, and hardly what switches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tools.minihead.layout import LAYOUT, NAMES

Params = dict[str, Tensor]
HAIR_TONES = (
    (0.085, 0.07, 0.062),
    (0.14, 0.09, 0.06),
    (0.25, 0.15, 0.085),
    (0.42, 0.26, 0.14),
    (0.66, 0.49, 0.28),
)
GREY = (0.66, 0.65, 0.635)
IRIS_TONES = (
    (0.15, 0.08, 0.045),
    (0.28, 0.17, 0.09),
    (0.26, 0.32, 0.20),
    (0.24, 0.38, 0.52),
    (0.40, 0.46, 0.48),
)
SKIN_TONES = ((0.94, 0.75, 0.66), (0.78, 0.55, 0.425), (0.33, 0.21, 0.15))


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """Smoothstep from 0 at `low` to 1 at `high`."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def palette(position: Tensor, colours: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Colours [B, 3] at `position` [B] in [0, 1] along evenly spaced `colours`."""
    table = torch.tensor(colours, device=position.device)
    at = position.clamp(0, 1) * (len(colours) - 1)
    low = at.long().clamp(max=len(colours) - 2)
    return torch.lerp(table[low], table[low + 1], (at - low)[:, None])


def mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Blends colours [B, 3] by `weight` [B]."""
    return torch.lerp(a, b, weight[:, None])


def identity_params(z: Tensor) -> Params:
    """Parameters of the person; read only from the groups identity and appearance.

    Args:
        z: [B, 64].

    Returns:
        tensors [B], [B, 3] (colours, ethnicity) and [B, 12] (shape).
    """
    one = {name: z[:, s].squeeze(1) for name, s in NAMES.items() if s.stop - s.start == 1}
    share = {name: torch.special.ndtr(value) for name, value in one.items()}
    ethnicity = torch.softmax(1.5 * z[:, NAMES["ethnicity"]], 1)
    gender = (share["gender"] * 1.5 - 0.25).clamp(0, 1)
    age = share["age"]
    params = {
        "ethnicity": ethnicity,
        "gender": gender,
        "age": age,
        "weight": (one["weight"] * 0.5).clamp(-1, 1),
        "shape": z[:, NAMES["shape"]],
    }
    return (
        params
        | _colours(one, share, params)
        | _hair(one, share, params)
        | _face(one, share, params)
    )


def _colours(one: Params, share: Params, person: Params) -> Params:
    ethnicity, age = person["ethnicity"], person["age"]
    dark = 1 - ethnicity[:, 0]
    usual = torch.tensor([0.1, 0.3, 0.85], device=dark.device)
    melanin = (ethnicity @ usual + 0.1 * one["melanin"]).clamp(0, 1)
    tone = share["hair_tone"] * (1 - 0.75 * dark)
    hair = palette(tone, HAIR_TONES)
    red = (0.2 * one["hair_red"].clamp(min=0) * (1 - dark))[:, None]
    hair = hair * (1 + red * torch.tensor([1.0, -0.1, -0.4], device=dark.device))
    grey = ramp((age - 0.72) * 3 + 0.7 * one["grey"], -0.2, 1.3) * ramp(age, 0.35, 0.65)
    hair = mix(hair, torch.tensor(GREY, device=dark.device).expand_as(hair), grey)
    return {
        "melanin": melanin,
        "skin": palette(melanin, SKIN_TONES),
        "grey": grey,
        "hair": hair.clamp(0.02, 0.95),
        "iris": palette(share["iris"] * (1 - 0.75 * dark), IRIS_TONES),
    }


def _hair(one: Params, share: Params, person: Params) -> Params:
    feminine = person["gender"]
    wish = torch.special.ndtr(0.85 * one["hair_length"] + 1.5 * (feminine - 0.5))
    male = 1 - ramp(feminine, 0.25, 0.75)
    bald = ramp(one["bald"], 1.0, 1.5) * ramp(male, 0.2, 0.8)
    long = ramp(wish, 0.4, 0.68) * (1 - bald)
    behind = ramp(one["tuck"], 0.1, 1.1)
    return {
        "bald": bald,
        "volume": 0.05 + 0.26 * share["hair_volume"] ** 1.4 + 0.04 * long,
        "long": long,
        "tip": 6.75 - 1.75 * ((wish - 0.5) / 0.45).clamp(0, 1),
        "edge": 1.02 + 0.3 * share["tuck"] + 0.6 * behind + 2.4 * (1 - long),
        "cover": long * (1 - behind),
        "fringe": -0.42 * ramp(one["hairline"], 0.4, 1.8) * (1 - 0.6 * male)
        + 0.06 * one["hairline"].clamp(-2, 0.9),
        "recede": 0.45
        * ramp(one["recede"] + 1.2 * (person["age"] - 0.5), 0.3, 1.8)
        * ramp(male, 0.2, 0.9),
        "wave": share["wave"] * (0.5 + 0.5 * person["ethnicity"][:, 2]),
        "parting": one["parting"].clamp(-2, 2),
        "sides": share["sides"] * 0.6 + 0.4 * feminine,
    }


def _face(one: Params, share: Params, person: Params) -> Params:
    male = 1 - ramp(person["gender"], 0.25, 0.75)
    grown = ramp(person["age"], 0.1, 0.38)
    beard = ramp(one["beard"], -0.3, 1.2) * male * grown
    upper = ramp(one["beard"] + 0.6 * one["moustache"], -0.3, 1.2) * male * grown
    return {
        "beard": beard,
        "moustache": upper,
        "beard_length": beard * share["beard_length"] ** 2,
        "brow": 0.5 + 0.35 * share["brows"],
        "brow_width": 0.026 + 0.014 * share["brows"] - 0.006 * person["gender"],
        "lips": 0.3 + 0.6 * share["lips"] * (0.4 + 0.6 * person["gender"]),
        "blush": 0.3 * share["blush"],
        "phase": one["parting"] * 1.7 + one["wave"],
    }


def scene_params(z: Tensor) -> Params:
    """Clothes and light: what changes from picture to picture of one person."""
    one = {n: z[:, NAMES[n]].squeeze(1) for n in NAMES if NAMES[n].stop - NAMES[n].start == 1}
    hue = one["cloth_hue"][:, None] * 1.3 + torch.tensor([0.0, 2.1, 4.2], device=z.device)
    tone = torch.special.ndtr(one["cloth_tone"])[:, None]
    direction = torch.stack(
        [
            0.75 * one["light_side"].clamp(-2, 2),
            0.5 + 0.3 * one["light_height"].clamp(-2, 2),
            1.1 + 0 * one["light_side"],
        ],
        1,
    )
    warm = 0.06 * torch.tanh(one["warmth"])[:, None]
    return {
        "cloth": ((0.12 + 0.6 * tone) * (1 + 0.35 * hue.cos())).clamp(0.03, 0.9),
        "light": torch.nn.functional.normalize(direction, dim=1),
        "ambient": 0.56 + 0.08 * torch.tanh(one["ambient"]),
        "tint": 1 + warm * torch.tensor([1.0, 0.1, -1.0], device=z.device),
    }


def expression(z: Tensor) -> Params:
    """Expression parameters [B], read only from the group expression.

    About 11 % of z have closed eyes, 17 % an open mouth, a third a strong smile: hardly a face
    is at rest.
    """
    blink, jaw, smile, raise_, frown, pucker, gaze_x, gaze_y = z[:, LAYOUT["expression"]].unbind(1)
    return {
        "blink": ramp(blink, 0.8, 1.4),
        "jaw": (0.45 * (jaw - 0.3)).clamp(0, 0.85),
        "smile": (0.6 * smile + 0.2).clamp(0, 1.2),
        "brow_raise": (0.7 * raise_).clamp(0, 1.2),
        "frown": (0.7 * frown - 0.1).clamp(0, 1.2),
        "pucker": (0.6 * pucker - 0.2).clamp(0, 1.0),
        "gaze_x": (0.25 * gaze_x).clamp(-0.5, 0.5),
        "gaze_y": (0.13 * gaze_y).clamp(-0.3, 0.3),
    }
