"""Mirror images: training data that pre-processing writes beside pictures, of another person."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import torch

# before the ending
_MARK = re.compile(r"[_-](?:mirror|mirrored|flip|flipped)(?=\.[^./]*$)", re.IGNORECASE)
_TOLERANCE = 0.01


def named_mirrors(names: Collection[str]) -> dict[str, str]:
    """Return mirror image -> picture, for those whose names say so and whose picture is there."""
    marked = [name for name in names if _MARK.search(name)]
    if not marked:
        return {}
    pictures = {_stem(name): name for name in names}
    partners = {name: pictures.get(_stem(_MARK.sub("", name))) for name in marked}
    return {name: picture for name, picture in partners.items() if picture}


def _stem(name: str) -> str:
    return name[: name.rfind(".")]


def is_mirrored(label: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one EG3D label's pose is the other's in a mirror that swaps left and right."""
    poses = [torch.tensor(list(numbers[:16]), dtype=torch.float64) for numbers in (label, other)]
    signs = torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    turned = poses[1].reshape(4, 4) * signs * signs[:, None]
    return bool((poses[0].reshape(4, 4) - turned).abs().max() < _TOLERANCE)


def split_mirrors(labels: Mapping[str, Sequence[float]]) -> tuple[list[str], list[str]]:
    """Return the mirror images, and those that are so by name alone."""
    pairs = named_mirrors(labels)
    mirrored = [name for name, other in pairs.items() if is_mirrored(labels[name], labels[other])]
    return mirrored, [name for name in pairs if name not in set(mirrored)]
