"""What the picture holds that the generator can't make, and losses that leave it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.errors import ConfigError
from inv3d.core.fit.context import Context
from inv3d.core.fit.objective import Losses
from inv3d.core.fit.terms import LossTerm
from inv3d.core.loss import MASK

_COLOURS = 3


def difference_map(image: Tensor, coarse: Tensor, theta: float) -> Tensor:
    """Return 1 where a picture is within reach of the generator, 0 where it isn't, [N, 1, H, W].

    Args:
        image: [N, 3, H, W] in [-1, 1].
        coarse: [N, 3, H, W], what the coarse latent makes of it.
        theta: largest root mean square difference over the colours that is within reach.

    Raises:
        ConfigError: where nothing is.
    """
    difference = torch.linalg.vector_norm(image - coarse, dim=1, keepdim=True) / _COLOURS**0.5
    known: Tensor = (difference <= theta).to(image)
    if not bool(known.any()):
        raise ConfigError(
            f"option 'occluded.theta': every pixel of the picture is out of distribution (the "
            f"coarse latent misses it by {float(difference.min()):.3g} or more, theta is "
            f"{theta:g}), so that the second latent has nothing to fit; give a larger number, more "
            "coarse.latent.steps, or occluded.source=render"
        )
    return known


def without(capture: Capture, known: Tensor, terms: Mapping[str, LossTerm]) -> Capture:
    """Return the capture with the difference map as its masks.

    Where losses look at the capture's own masks, those are multiplied with it.
    """
    used = any(MASK == t.where or t.options.get(MASK) in (MASK, True) for t in terms.values())
    masks = known if capture.masks is None or not used else known * capture.masks
    return replace(capture, masks=masks)


def masked_terms(terms: Mapping[str, LossTerm], context: Context) -> dict[str, LossTerm]:
    """Return losses that look at pictures through the mask; others are as they were."""
    return {
        name: term.model_copy(update={"where": MASK})
        if "image" in context.loss(name, term).needs
        else term
        for name, term in terms.items()
    }


def through(losses: Losses, name: str) -> Losses:
    """Return losses that look at pictures through a map; others are as they were."""
    return {
        key: replace(one, where=name) if "image" in one.loss.needs else one
        for key, one in losses.items()
    }
