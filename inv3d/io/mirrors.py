"""Mirror images: training data that pre-processing writes beside pictures, of another person."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import torch

_MARK = re.compile(r"[_-](?:mirror|mirrored|flip|flipped)$", re.IGNORECASE)
_TOLERANCE = 0.01


def partner(name: str) -> str:
    """Return the name without the mark of a mirror image and without its ending; "" if none."""
    stem = str(PurePosixPath(name).with_suffix(""))
    bare = _MARK.sub("", stem)
    return bare if bare != stem else ""


def named_mirrors(names: Sequence[str]) -> dict[str, str]:
    """Return mirror image -> picture, for those whose names say so and whose picture is there."""
    stems = {str(PurePosixPath(name).with_suffix("")): name for name in names}
    return {name: stems[partner(name)] for name in names if partner(name) in stems}


def is_mirrored(label: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one EG3D label's pose is the other's in a mirror that swaps left and right."""
    poses = [torch.tensor(list(numbers[:16]), dtype=torch.float64) for numbers in (label, other)]
    signs = torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    turned = poses[1].reshape(4, 4) * signs * signs[:, None]
    return bool((poses[0].reshape(4, 4) - turned).abs().max() < _TOLERANCE)


def split_mirrors(labels: Mapping[str, Sequence[float]]) -> tuple[list[str], list[str]]:
    """Return the mirror images, and those that are so by name alone."""
    pairs = named_mirrors(list(labels))
    mirrored = [name for name, other in pairs.items() if is_mirrored(labels[name], labels[other])]
    return mirrored, [name for name in pairs if name not in set(mirrored)]
