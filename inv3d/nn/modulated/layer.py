"""StyleGAN2's modulated convolution with all that follows it, as one node of the graph.

y = clamp(leaky ReLU(d * conv(x * s, W) + noise + bias)), where the styles s scale input channels
and d brings every output channel back to unit variance. Written out in plain operations
(`modulated_layer_plain`), autograd keeps a map for each of them and computes a gradient to the
weights wherever the styles scaled these, even if only the styles want one. Here x and y are kept,
and the gradients to s and d are sums over maps that are read anyway. Maps are channels last.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from inv3d.nn.layers import LRELU_GAIN, LRELU_SLOPE
from inv3d.nn.modulated import epilogue, epilogue_triton
from inv3d.nn.modulated.convolution import (
    convolve,
    convolve_backward,
    convolve_plain,
    takes_winograd,
)
from inv3d.nn.modulated.epilogue import Epilogue
from inv3d.nn.modulated.epilogue_triton import usable

_EPSILON = 1e-8
# Styles that are larger can be divided by.
_LEAST = 1e-15


def modulated_layer(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    up: Tensor | None = None,
    demodulate: bool = True,
    activate: bool = True,
    clamp: float | None = None,
) -> Tensor:
    """Convolve as styles say, add noise and bias, activate, clamp.

    Under autocast the maps are of its type, and everything else is of the parameters'. There are no
    second derivatives.

    Args:
        x: [S * V, I, h, w], V consecutive images a style.
        weight: [O, I, k, k], k 1 or 3.
        styles: [S, I].
        bias: [O].
        noise: [1 or S * V, 1, H, W].
        up: low-pass filter [4, 4] behind a transposed convolution that doubles the resolution.
        demodulate: normalise every output channel to unit variance.
        activate: apply leaky ReLU and its gain.
        clamp: largest absolute value of the result, None for no limit.

    Returns:
        [S * V, O, H, W], channels last.
    """
    kind, own = x.device.type, weight.dtype
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    gain = LRELU_GAIN if activate else 1.0
    follows = Epilogue(activate, clamp, usable(x, x.dtype))
    plan = _Plan(follows, demodulate, gain, takes_winograd(x, weight, up))
    with torch.autocast(kind, enabled=False):
        shift, added = (None if t is None else t.to(own) * gain for t in (bias, noise))
        made: Tensor = _ModulatedConv.apply(x, weight, styles.to(own), shift, added, up, plan)
    return made


def modulated_layer_plain(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    up: Tensor | None = None,
    demodulate: bool = True,
    activate: bool = True,
    clamp: float | None = None,
) -> Tensor:
    """`modulated_layer` as it's defined: one convolution an image, with weights of its own."""
    images = []
    for image, style in zip(x, styles.repeat_interleave(len(x) // len(styles), 0), strict=True):
        own = weight * style[:, None, None]
        if demodulate:
            own = own * torch.rsqrt(own.square().sum(dim=(1, 2, 3), keepdim=True) + _EPSILON)
        images.append(convolve_plain(image[None], own, up))
    y = torch.cat(images)
    y = y if noise is None else y + noise
    y = y if bias is None else y + bias[:, None, None]
    if activate:
        y = F.leaky_relu(y, LRELU_SLOPE) * LRELU_GAIN
    return y if clamp is None else y.clamp(-clamp, clamp)


@dataclass(frozen=True)
class _Plan:
    """How a layer computes.

    Attributes:
        epilogue: what follows the convolution.
        demodulate: as in `modulated_layer`.
        gain: of the activation, applied to all that goes in.
        fast: take Winograd's algorithm.
    """

    epilogue: Epilogue
    demodulate: bool
    gain: float
    fast: bool


# `precision.run_in` knows convolutions by "Conv" in their names.
class _ModulatedConv(torch.autograd.Function):
    """The layer; bias and noise come with the gain applied."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        styles: Tensor,
        bias: Tensor | None,
        noise: Tensor | None,
        up: Tensor | None,
        plan: _Plan,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        scale = _output_scale(weight, styles, plan)
        if _takes_scaled_weights(x, weight, styles):
            own, source, rest = _scaled_weights(weight, styles, scale), x, None
        else:
            own, source, rest = weight, _scaled(x, styles), scale
        y = convolve(source, own.to(x.dtype), up, plan.fast, plan.epilogue.programs)
        y = y.contiguous(memory_format=torch.channels_last)
        _epilogue(plan).apply_(plan.epilogue, y, rest, bias, noise)
        ctx.plan = plan
        ctx.save_for_backward(x, weight, styles, bias, noise, up, scale, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_x, to_weight, to_styles, to_bias, to_noise = ctx.needs_input_grad[:5]
        x, weight, styles, bias, noise, up, scale, y = ctx.saved_tensors
        plan: _Plan = ctx.plan
        demodulated = plan.demodulate and (to_weight or to_styles)
        how = (plan.fast, (to_x or to_styles, to_weight), plan.epilogue.programs)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        # With all factors in the weights no map has to be scaled; the gradient to styles is then
        # divided by them.
        folded = (
            epilogue.may_ask(x)
            and _takes_scaled_weights(x, weight, styles)
            and bool((styles.abs() > _LEAST).all())
        )
        with torch.autocast(x.device.type, enabled=False):
            found = _epilogue(plan).backward(
                plan.epilogue, gradient, y, None if folded else scale, bias, noise,
                (demodulated, to_bias, to_noise),
            )  # fmt: skip
            if folded:
                own = _scaled_weights(weight, styles, scale)
                dx, dw = convolve_backward(found.y, x, own.to(x.dtype), up, *how)
                ds = epilogue.products_of(dx, x) / styles if dx is not None and to_styles else None
                dw = None if dw is None else _scaled_weights(dw.to(weight.dtype), styles, scale)
            else:
                shared = len(styles) == 1
                source = x if shared or not to_weight else _scaled(x, styles)
                dx, dw = convolve_backward(found.y, source, weight.to(x.dtype), up, *how)
                ds = None
                if dx is not None:
                    ds = _epilogue(plan).scale_backward_(dx, x, styles, to_styles)
                if dw is not None:
                    dw = dw.to(weight.dtype)
                    dw = dw.mul_(styles[0, :, None, None]) if shared else dw
            if demodulated:
                assert found.scale is not None and scale is not None
                _add_demodulation(found.scale, scale / plan.gain, weight, styles, ds, dw)
        return dx if to_x else None, dw, ds, found.bias, found.noise, None, None


def _epilogue(plan: _Plan) -> ModuleType:
    """Who computes what follows the convolution."""
    return epilogue_triton if plan.epilogue.programs else epilogue


def _takes_scaled_weights(x: Tensor, weight: Tensor, styles: Tensor) -> bool:
    """Whether it's the weights that are scaled, since there's one style and they are fewer."""
    return len(styles) == 1 and weight.numel() < 2 * x.numel()


def _scaled_weights(weight: Tensor, styles: Tensor, scale: Tensor | None) -> Tensor:
    """Scale weights [O, I, k, k] by styles [1, I] and factors of output channels [1, O]."""
    factors = styles if scale is None else scale.t() * styles
    return weight * factors[:, :, None, None]


def _output_scale(weight: Tensor, styles: Tensor, plan: _Plan) -> Tensor | None:
    """Factors of output channels [S, O], None where they're one."""
    if plan.demodulate:
        variance = styles.square() @ _energies(weight).t()
        return torch.rsqrt(variance + _EPSILON) * plan.gain
    return None if plan.gain == 1 else styles.new_full((len(styles), len(weight)), plan.gain)


def _energies(weight: Tensor) -> Tensor:
    """Sums of squares of kernels [O, I, k, k], [O, I].

    They aren't kept while weights are frozen: that is a pass over the weights in a step, and there
    is no sure sign that weights have changed (`weight.data.copy_` leaves none).
    """
    kernels = weight.flatten(2)
    energies: Tensor = torch.linalg.vecdot(kernels, kernels)
    return energies


def _add_demodulation(
    scaled: Tensor,
    inverse: Tensor,
    weight: Tensor,
    styles: Tensor,
    to_styles: Tensor | None,
    to_weight: Tensor | None,
) -> None:
    """Add to the gradients what they get by the factors of output channels.

    Args:
        scaled: [S, O], gradient to the factors times the factors.
        inverse: [S, O], one by the standard deviation.
        weight: [O, I, k, k].
        styles: [S, I].
        to_styles: [S, I], changed in place.
        to_weight: [O, I, k, k], changed in place.
    """
    to_variance = scaled * inverse.square() / -2
    if to_styles is not None:
        to_styles.add_(styles * (to_variance @ _energies(weight)), alpha=2)
    if to_weight is not None:
        factors = to_variance.t() @ styles.square()
        to_weight.addcmul_(weight, factors[:, :, None, None], value=2)


def _scaled(x: Tensor, styles: Tensor) -> Tensor:
    """Scale the channels of x [S * V, I, h, w] by styles [S, I]."""
    factors = styles.to(x.dtype).repeat_interleave(len(x) // len(styles), 0)
    return x * factors[:, :, None, None]
