"""Convolutions of StyleGAN2 and their gradients: the fastest of several ways for each shape.

`convolve_plain` is what they all compute.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn import filters
from inv3d.nn.filters import blur
from inv3d.nn.modulated import doubling, epilogue_triton, winograd, winograd_triton
from inv3d.nn.modulated.epilogue import as_maps, as_rows
from inv3d.nn.products import product


def takes_winograd(x: Tensor, weight: Tensor, up: Tensor | None) -> bool:
    """Whether Winograd's algorithm pays for a convolution, and is allowed now."""
    return up is None and _winograd(x).is_faster(x, weight)


def _winograd(x: Tensor) -> ModuleType:
    """Who computes Winograd's convolutions."""
    return winograd_triton if x.is_cuda else winograd


def convolve_plain(x: Tensor, weight: Tensor, up: Tensor | None) -> Tensor:
    """`convolve` as it's defined."""
    if up is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), up)


def convolve(
    x: Tensor, weight: Tensor, up: Tensor | None, fast: bool, programs: bool = False
) -> Tensor:
    """Convolve maps that are channels last.

    Args:
        x: [N, I, h, w].
        weight: [O, I, k, k], k 1 or 3.
        up: low-pass filter [4, 4] behind a transposed convolution that doubles the resolution.
        fast: take Winograd's algorithm, as `takes_winograd` says.
        programs: filter by Triton programs.
    """
    if fast:
        made: Tensor = _winograd(x).conv3x3(x, weight)
        return made
    if _is_product(x, weight):
        return as_maps(product(as_rows(x), weight.flatten(1)), x)
    if up is not None and programs:
        doubled = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        return epilogue_triton.blur(doubled, up)
    return convolve_plain(x, weight, up)


def convolve_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    up: Tensor | None,
    fast: bool,
    wanted: tuple[bool, bool],
    programs: bool = False,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `convolve` to x (channels last) and to the weights.

    Args:
        gradient: [N, O, H, W], channels last.
        x: see `convolve`, as the rest.
        weight: [O, I, k, k].
        up: [4, 4] or None.
        fast: as forwards.
        wanted: which of the two.
        programs: as forwards.
    """
    if _is_product(x, weight):
        return _product_backward(gradient, x, weight, wanted)
    if up is not None:
        blur_backward = (epilogue_triton if programs else filters).blur_backward
        return _up_backward(blur_backward(gradient, up), x, weight, wanted)
    if fast:
        home = _winograd(x)
        dx = home.input_gradient(gradient, weight) if wanted[0] else None
        return dx, home.weight_gradient(gradient, x) if wanted[1] else None
    return _direct_backward(gradient, x, weight, wanted, padding=weight.shape[-1] // 2)


def _up_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the transposed convolution."""
    fast = wanted[1] and doubling.is_faster(x, weight)
    rest = (wanted[0], wanted[1] and not fast)
    dx, dw = _direct_backward(gradient, x, weight.transpose(0, 1), rest, transposed=True)
    if fast:
        return dx, doubling.weight_gradient(gradient, x)
    return dx, None if dw is None else dw.transpose(0, 1)


def _direct_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    wanted: tuple[bool, bool],
    padding: int = 0,
    transposed: bool = False,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of torch's own convolution, or of its transposed one of stride 2."""
    if not any(wanted):
        return None, None
    stride, around, mask = 2 if transposed else 1, [padding] * 2, [*wanted, False]
    dx, dw, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, around, [1, 1], transposed, [0, 0], 1, mask
    )
    return dx.contiguous(memory_format=torch.channels_last) if wanted[0] else None, dw


def _is_product(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution is taken as a product; on CUDA products round in a way of their own."""
    return weight.shape[-1] == 1 and x.device.type == "cpu"


def _product_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    rows, kernel = as_rows(gradient), weight.flatten(1)
    dx = as_maps(product(rows, kernel.t().contiguous()), x) if wanted[0] else None
    return dx, (rows.t() @ as_rows(x)).view_as(weight) if wanted[1] else None
