"""Normalisation over the pictures of all processes, so that their number changes nothing."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from inv3d.train.team import Team


def share_norms(network: nn.Module, team: Team) -> None:
    """Let every BatchNorm of a network see the pictures of all processes while it's trained."""
    if team.size == 1:
        return
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = functools.partial(shared_norm, module, team=team)  # type: ignore[method-assign]


def shared_norm(norm: _BatchNorm, x: Tensor, team: Team) -> Tensor:
    """Return what a BatchNorm makes of its part [N, C, ...] of the pictures of all processes.

    Sums are in 32 bits, as a BatchNorm's own are.
    """
    if not norm.training:
        return type(norm).forward(norm, x)
    given, x = x.dtype, x if x.dtype == torch.float64 else x.float()
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    count = x.numel() // x.shape[1] * team.size
    mean = team.sum(x.sum(axes)) / count
    centred = x - mean.view(shape)
    variance = team.sum(centred.square().sum(axes)) / count
    _remember(norm, mean.detach(), variance.detach() * (count / max(1, count - 1)))
    made = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.weight is not None:
        made = made * norm.weight.view(shape) + norm.bias.view(shape)
    return made.to(given)


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as a BatchNorm of its own does."""
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    momentum = norm.momentum
    weight = 1 / float(norm.num_batches_tracked) if momentum is None else momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean), weight)
    norm.running_var.lerp_(variance.to(norm.running_var), weight)
