"""What each of the 52 numbers of z stands for. z ~ N(0, I); every number is used once.

The same person is the same `identity` and `appearance`; `clothes`, `light` and `expression` may
differ from picture to picture.
"""

from __future__ import annotations

SHAPE_DIMS = 12
GROUPS: dict[str, tuple[tuple[str, int], ...]] = {
    "identity": (
        ("ethnicity", 3),
        ("gender", 1),
        ("age", 1),
        ("weight", 1),
        ("shape", SHAPE_DIMS),
    ),
    "appearance": (
        ("melanin", 1),
        ("hair_tone", 1),
        ("hair_red", 1),
        ("grey", 1),
        ("hair_volume", 1),
        ("hair_length", 1),
        ("hairline", 1),
        ("recede", 1),
        ("tuck", 1),
        ("wave", 1),
        ("parting", 1),
        ("bald", 1),
        ("beard", 1),
        ("moustache", 1),
        ("beard_length", 1),
        ("brows", 1),
        ("lips", 1),
        ("blush", 1),
        ("iris", 1),
        ("sides", 1),
    ),
    "clothes": (("cloth_hue", 1), ("cloth_tone", 1)),
    "light": (("light_side", 1), ("light_height", 1), ("ambient", 1), ("warmth", 1)),
    "expression": (
        ("blink", 1),
        ("jaw", 1),
        ("smile", 1),
        ("brow_raise", 1),
        ("frown", 1),
        ("pucker", 1),
        ("gaze_x", 1),
        ("gaze_y", 1),
    ),
}


def _slices() -> tuple[dict[str, slice], dict[str, slice]]:
    groups, names, at = {}, {}, 0
    for group, members in GROUPS.items():
        start = at
        for name, width in members:
            names[name] = slice(at, at + width)
            at += width
        groups[group] = slice(start, at)
    return groups, names


LAYOUT, NAMES = _slices()
Z_DIM = max(s.stop for s in LAYOUT.values())
EXPRESSIONS = tuple(name for name, _ in GROUPS["expression"])
