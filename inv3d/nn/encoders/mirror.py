"""The mirror image of a head as a soft target: differences that a map weighs."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

DifferenceKind = Literal["squared", "smooth_l1"]


def uncertain_difference(
    rendered: Tensor,
    target: Tensor,
    uncertainty: Tensor,
    kind: DifferenceKind = "squared",
    *,
    added: float = 1.0,
    normalised: bool = False,
) -> Tensor:
    """Return how far pictures are from targets that may be wrong in places, a scalar.

    The difference of a pixel, averaged over its channels, is divided by (uncertainty + added).

    Args:
        rendered: [N, 3, H, W].
        target: [N, 3, H, W], such as the mirror image of a photo.
        uncertainty: [N, H, W], 0 where a target is sure.
        kind: "squared", or "smooth_l1" with its corner at 1.
        added: TriPlaneNet's code adds 1, its paper nothing.
        normalised: divide by the picture's mean weight, so that sure and unsure ones count alike.
    """
    if kind == "squared":
        pixels = (rendered - target).square()
    else:
        pixels = F.smooth_l1_loss(rendered, target, reduction="none")
    weights = 1 / (uncertainty + added)
    each = (pixels.mean(1) * weights).mean((1, 2))
    if normalised:
        each = each / weights.mean((1, 2))
    return each.mean()
