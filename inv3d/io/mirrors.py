"""Mirror images: training data that pre-processing writes beside pictures, of another person."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch

from inv3d.io.cameraset import CameraSet
from inv3d.io.naming import IMAGES, stem_of

_GAPS = "_. -()[]"
# a word of a file's or folder's name, with the gap before it
_MARK = re.compile(
    rf"(?:^|(?<=/)|[{re.escape(_GAPS)}])"
    r"(?:mirror(?:ed)?|h?flip(?:ped)?|flip[_-]?(?:lr|h)|hor(?:izontal)?[_-]?flip|flop)\d?"
    rf"(?=$|[/{re.escape(_GAPS)}])",
    re.IGNORECASE,
)
_TOLERANCE = 0.01


def named_mirrors(names: Collection[str], among: Collection[str] = ()) -> dict[str, str]:
    """Return mirror image -> picture, for those whose names say so and whose picture is there.

    Args:
        names: of the images.
        among: which the pictures are looked for; the same if empty.
    """
    marked = {name: keys for name in names if (keys := _unmarked(name))}
    if not marked:
        return {}
    pictures = {_key(stem_of(name)): name for name in among or names}
    partners = {
        name: next((pictures[key] for key in keys if key in pictures), "")
        for name, keys in marked.items()
    }
    return {name: picture for name, picture in partners.items() if picture}


def _unmarked(name: str) -> list[str]:
    """Return what a name is without one of its marks, the last one first."""
    stem = stem_of(name)
    keys = [_key(stem[: found.start()] + stem[found.end() :]) for found in _MARK.finditer(stem)]
    return [key for key in reversed(keys) if key]


def _key(stem: str) -> str:
    """A path as it's compared: without `images/`, and without gaps at the ends of its parts."""
    parts = (part.strip(_GAPS) for part in stem.split("/"))
    return "/".join(part for part in parts if part not in ("", IMAGES))


def is_mirrored(label: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one EG3D label's pose is the other's in a mirror that swaps left and right."""
    poses = [torch.tensor(list(numbers[:16]), dtype=torch.float64) for numbers in (label, other)]
    signs = torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    turned = poses[1].reshape(4, 4) * signs * signs[:, None]
    return bool((poses[0].reshape(4, 4) - turned).abs().max() < _TOLERANCE)


def split_mirrors(found: CameraSet, labels: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the images that are mirror images, and those that are so by name alone.

    The picture that one is of needn't be there: its label is enough.

    Args:
        found: the labels.
        labels: name of an image -> name of its label.
    """
    pairs = {name: labels[other] for name, other in named_mirrors(labels).items()}
    alone = {label: name for name, label in labels.items() if name not in pairs}
    pairs |= {alone[label]: other for label, other in named_mirrors(alone, found.labels).items()}
    pairs = _told_by_cameras(found, labels) | pairs
    numbers = found.read({*pairs.values(), *(labels[name] for name in pairs)})
    mirrored = [
        name for name, other in pairs.items() if is_mirrored(numbers[labels[name]], numbers[other])
    ]
    return mirrored, [name for name in pairs if name not in set(mirrored)]


def _told_by_cameras(found: CameraSet, labels: Mapping[str, str]) -> dict[str, str]:
    """Return image -> label of the picture that it mirrors, whatever the word in its name.

    It's one that comes with the mirrored camera wherever it's there, twice or more.
    """
    groups: dict[tuple[str, bool], list[tuple[str, str]]] = defaultdict(list)
    for name, picture, addition in _longer_names(labels):
        groups[addition].append((name, labels[picture]))
    told: dict[str, str] = {}
    for pairs in groups.values():
        numbers = [(found.read([labels[n]])[labels[n]], found.read([p])[p]) for n, p in pairs]
        if len(pairs) > 1 and all(is_mirrored(*both) for both in numbers):
            # a frontal camera is its own mirror image, and so tells nothing
            if not all(is_mirrored(other, other) for _, other in numbers):
                told.update(pairs)
    return told


def _longer_names(names: Collection[str]) -> Iterator[tuple[str, str, tuple[str, bool]]]:
    """Yield names that are another one with an addition of letters: what, and whether behind."""
    pictures = {_key(stem_of(name)): name for name in names}
    for key, name in pictures.items():
        for cut in range(1, len(key)):
            first, second = key[:cut], key[cut:]
            for base, addition, behind in ((first, second, True), (second, first, False)):
                if base in pictures and re.search("[a-z]", addition, re.IGNORECASE):
                    yield name, pictures[base], (addition, behind)
