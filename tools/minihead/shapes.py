"""From named targets to axes of face shape, each with a negative and a positive end."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.minihead.headbase import OPPOSITES

SPREAD = {
    "head": 0.30,
    "eyes": 0.28,
    "nose": 0.28,
    "mouth": 0.27,
    "chin": 0.3,
    "forehead": 0.22,
    "cheek": 0.36,
    "ears": 0.35,
    "neck": 0.18,
    "eyebrows": 0.25,
    "asym": 0.16,
}
GENTLE = ("trans", "scale-vert")
SIDEWAYS = ("head-trans", "head-angle", "neck-trans", "nose-trans-in", "mouth-trans-in")


@dataclass
class Axis:
    """One direction of shape: numbers of the targets at its ends and its standard deviation."""

    spread: float
    negative: list[int] = field(default_factory=list)
    positive: list[int] = field(default_factory=list)


def shape_axes(names: list[str]) -> list[Axis]:
    """Groups the "local/..." targets into axes; left and right eye, cheek and ear move together."""
    axes: dict[str, Axis] = {}
    known = set(names)
    for number, name in enumerate(names):
        if not name.startswith("local/"):
            continue
        key, positive = _end(name, known)
        key = key.replace("/l-", "/").replace("/r-", "/")
        axis = axes.setdefault(key, Axis(_spread(name)))
        (axis.positive if positive else axis.negative).append(number)
    return [axes[key] for key in sorted(axes)]


def _end(name: str, known: set[str]) -> tuple[str, bool]:
    """The axis that a target belongs to, and whether it is the positive end."""
    for low, high in OPPOSITES:
        if name.endswith(low) and name.removesuffix(low) + high in known:
            return name.removesuffix(low) + high, False
    return name, True


def _spread(name: str) -> float:
    spread = SPREAD[name.split("/")[1]]
    if any(word in name for word in SIDEWAYS):
        return spread * 0.25
    return spread * 0.6 if any(word in name for word in GENTLE) else spread
