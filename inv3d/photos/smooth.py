"""Angles of a video, smoothed over time."""

from __future__ import annotations

import torch
from torch import Tensor

# seconds: half width of the window; degrees: what is far off the others counts less and less
WIDTH_S, ROBUST = 0.12, 3.0
_ROUNDS = 3


def smoothed(time_s: Tensor, values: Tensor, width_s: float = WIDTH_S) -> Tensor:
    """Fit a line around every moment, by which steady motion isn't changed, and outliers are.

    Args:
        time_s: [N] seconds, in order.
        values: [N, D].
        width_s: standard deviation of the weights in time.

    Returns:
        [N, D].
    """
    apart = time_s[None] - time_s[:, None]
    near = torch.exp(-0.5 * (apart / width_s) ** 2)
    trust = torch.ones_like(values)
    result = values
    for _ in range(_ROUNDS):
        weights = near[..., None] * trust[None]
        result = _lines(apart, weights, values)
        off = (values - result).abs()
        scale = off.median(0).values.clamp_min(1e-9) * 1.4826 * ROBUST
        trust = 1 / (1 + (off / scale) ** 2)
    return result


def _lines(apart: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """Weighted linear regression at every moment: its value there."""
    x = apart[..., None]
    total = weights.sum(1)
    mean_x = (weights * x).sum(1) / total
    mean_y = (weights * values[None]).sum(1) / total
    centred = x - mean_x[:, None]
    spread = (weights * centred**2).sum(1)
    together = (weights * centred * (values[None] - mean_y[:, None])).sum(1)
    slope = torch.where(spread > 1e-12, together / spread.clamp_min(1e-12), 0.0)
    return mean_y - slope * mean_x
