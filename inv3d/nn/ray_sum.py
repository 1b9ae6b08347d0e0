"""The sum of samples' features along rays by their weights, at the speed of memory on CPUs.

A batch of thousands of products of one row with one small matrix spends its time in calls; as a
weighted embedding bag of consecutive rows the same sum takes a seventh.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def ray_sum(weights: Tensor, features: Tensor) -> Tensor:
    """Return the sums over samples [B, R, C] of weights [B, R, S] times features [B, R, S, C]."""
    known = weights.dtype in (torch.float32, torch.float64) and weights.dtype == features.dtype
    if weights.device.type != "cpu" or not known:
        return ray_sum_plain(weights, features)
    batch, count, samples, channels = features.shape
    flat = features.reshape(batch * count, samples, channels)
    found: Tensor = _RaySum.apply(weights.reshape(batch * count, samples), flat)
    return found.reshape(batch, count, channels)


def ray_sum_plain(weights: Tensor, features: Tensor) -> Tensor:
    """`ray_sum` on any device, of any type."""
    return torch.einsum("brs,brsc->brc", weights, features)


class _RaySum(torch.autograd.Function):
    """Weights [R, S], features [R, S, C]."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, features: Tensor) -> Tensor:
        ctx.save_for_backward(weights, features)
        rows = torch.arange(weights.numel(), dtype=torch.int32).reshape(weights.shape)
        shares = weights.contiguous()
        return F.embedding_bag(rows, features.flatten(0, 1), mode="sum", per_sample_weights=shares)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weights, features = ctx.saved_tensors
        of_weights = of_features = None
        if ctx.needs_input_grad[0]:
            of_weights = (features @ gradient[:, :, None])[..., 0]
        if ctx.needs_input_grad[1]:
            of_features = weights[..., None] * gradient[:, None]
        return of_weights, of_features
