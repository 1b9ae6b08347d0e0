"""Equalised-rate linear layers and the activation of StyleGAN2."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.nn.vector_math import wake

wake()

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2.0)


def standard_normal(*shape: int, divisor: float = 1.0) -> Tensor:
    """Return initial weights; on the meta device, which has no numbers, without computing any.

    There, a single operation makes torch load packages for seconds.
    """
    empty = torch.empty(shape)
    return empty if empty.is_meta else empty.normal_().div_(divisor)


class EqualLinear(nn.Module):
    """A linear layer whose weights are scaled when used (equalised learning rate).

    Args:
        in_features: inputs.
        out_features: outputs.
        lr_multiplier: of the weights' and the bias' learning rate.
        bias_init: initial value of the bias as it is applied.
        activate: leaky ReLU with gain sqrt(2) behind it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        initial = standard_normal(out_features, in_features, divisor=lr_multiplier)
        self.weight = nn.Parameter(initial)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: [..., in_features].
            rows: outputs that are wanted, all unless given.
        """
        weight, bias = self.weight * self.weight_gain, self.bias * self.bias_gain
        if rows is not None:
            weight, bias = weight[rows], bias[rows]
        y = F.linear(x, weight, bias)
        return F.leaky_relu(y, LRELU_SLOPE) * LRELU_GAIN if self.activate else y


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale every row of [B, C] to a mean square of one."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)
