"""What z of the embedded generator stands for: attributes by name.

It was trained on heads that tools/minihead drew from z, so that every number of z has a meaning.
Where several numbers make one visible thing, it's computed here as the tools compute it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# numbers of z in order
_BEFORE_SHAPE = ("white", "asian", "black", "gender", "age", "weight")
_AFTER_SHAPE = (
    "melanin", "hair_tone", "hair_red", "grey", "hair_volume", "hair_length", "hairline", "recede",
    "tuck", "wave", "parting", "bald", "beard", "moustache", "beard_length", "brows", "lips",
    "blush", "iris", "sides", "cloth_hue", "cloth_tone", "light_side", "light_height", "ambient",
    "warmth", "blink", "jaw", "smile", "brow_raise", "frown", "pucker", "gaze_x", "gaze_y",
)  # fmt: skip
_NAMES = (*_BEFORE_SHAPE, *(f"shape {i}" for i in range(12)), *_AFTER_SHAPE)
_MELANIN = (0.1, 0.3, 0.85)


def known_attributes(z: Tensor) -> dict[str, Tensor]:
    """Return attributes of heads [B]; nothing for z of another layout.

    Args:
        z: [B, z_dim].
    """
    if z.shape[1] != len(_NAMES):
        return {}
    one = dict(zip(_NAMES, z.unbind(1), strict=True))
    return _expression(one) | _person(one, z) | _hair(one) | _scene(one)


def _expression(one: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        "smile": one["smile"],
        "open_mouth": one["jaw"],
        "closed_eyes": one["blink"],
        "raised_brows": one["brow_raise"],
        "frown": one["frown"],
        "pucker": one["pucker"],
    }


def _person(one: Mapping[str, Tensor], z: Tensor) -> dict[str, Tensor]:
    origin = torch.softmax(1.5 * torch.stack([one[n] for n in _BEFORE_SHAPE[:3]], 1), 1)
    male = 1 - _ramp(_gender(one), 0.25, 0.75)
    grown = _ramp(torch.special.ndtr(one["age"]), 0.1, 0.38)
    return {
        "age": one["age"],
        "feminine": one["gender"],
        "weight": one["weight"],
        "dark_skin": origin @ torch.tensor(_MELANIN).to(z) + 0.1 * one["melanin"],
        "beard": _ramp(one["beard"], -0.3, 1.2) * male * grown,
        "full_lips": torch.special.ndtr(one["lips"]) * (0.4 + 0.6 * _gender(one)),
        "heavy_brows": one["brows"],
    }


def _hair(one: Mapping[str, Tensor]) -> dict[str, Tensor]:
    age, dark = (
        torch.special.ndtr(one["age"]),
        1 - torch.softmax(1.5 * torch.stack([one[n] for n in _BEFORE_SHAPE[:3]], 1), 1)[:, 0],
    )
    return {
        "hair_length": 0.85 * one["hair_length"] + 1.5 * (_gender(one) - 0.5),
        "hair_volume": one["hair_volume"],
        "light_hair": torch.special.ndtr(one["hair_tone"]) * (1 - 0.75 * dark),
        "grey_hair": _ramp((age - 0.72) * 3 + 0.7 * one["grey"], -0.2, 1.3)
        * _ramp(age, 0.35, 0.65),
        "bald": _ramp(one["bald"], 1.0, 1.5) * _ramp(1 - _ramp(_gender(one), 0.25, 0.75), 0.2, 0.8),
        "high_hairline": one["recede"] - one["hairline"],
    }


def _scene(one: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        "light_from_side": one["light_side"],
        "warm_light": one["warmth"],
        "bright_clothes": one["cloth_tone"],
    }


def _gender(one: Mapping[str, Tensor]) -> Tensor:
    share: Tensor = torch.special.ndtr(one["gender"])
    return (share * 1.5 - 0.25).clamp(0, 1)


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    smooth: Tensor = t * t * (3 - 2 * t)
    return smooth
