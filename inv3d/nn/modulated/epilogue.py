"""What is done to every number of a map behind a convolution, and the same backwards.

Maps are channels last. On a CPU they're gone through in blocks that stay in a second-level cache,
so that a map comes from memory once for everything; elsewhere a style's maps are one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.layers import LRELU_SLOPE

# Numbers of a block: 512 KiB in single precision, of three maps at most.
BLOCK = 1 << 17


@dataclass(frozen=True)
class Epilogue:
    """clamp(leaky ReLU(y * scale + bias + noise)).

    Attributes:
        activate: apply the leaky ReLU.
        clamp: largest absolute value, None for no limit.
        programs: go by Triton's programs (`epilogue_triton`).
    """

    activate: bool
    clamp: float | None
    programs: bool = False


@dataclass(frozen=True)
class Gradients:
    """What `backward` finds, None where it wasn't wanted.

    Attributes:
        y: to the map that came in, channels last.
        scale: [S, C], to the scale, multiplied by the scale.
        bias: [C].
        noise: as the noise.
    """

    y: Tensor
    scale: Tensor | None
    bias: Tensor | None
    noise: Tensor | None


def apply_(
    epilogue: Epilogue, y: Tensor, scale: Tensor | None, bias: Tensor | None, noise: Tensor | None
) -> None:
    """Change maps in place.

    Args:
        epilogue: what is done.
        y: [S * V, C, H, W], channels last.
        scale: [S, C].
        bias: [C].
        noise: [1 or S * V, 1, H, W].
    """
    table, added = as_rows(y), _noise_rows(noise, y)
    for style, rows in blocks(y, 1 if scale is None else len(scale)):
        part = table[rows]
        if scale is not None:
            part.mul_(scale[style])
        if bias is not None:
            part.add_(bias)
        if added is not None:
            part.add_(added[rows])
        if epilogue.activate:
            F.leaky_relu_(part, LRELU_SLOPE)
        if epilogue.clamp is not None and _reaches(part, epilogue.clamp):
            part.clamp_(-epilogue.clamp, epilogue.clamp)


def backward(
    epilogue: Epilogue,
    gradient: Tensor,
    y: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    noise: Tensor | None,
    wanted: tuple[bool, bool, bool],
) -> Gradients:
    """Return the gradients of `apply_`, from what it left behind.

    The gradient to a channel's scale is the sum of gradient times map before it was scaled. That
    map isn't kept: behind the activation, which is linear on either side of zero, the same sum
    comes from the finished map, less the shares of bias and noise.

    Args:
        epilogue: what was done.
        gradient: to y, channels last; left as it is.
        y: as `apply_` left it.
        scale: as in `apply_`.
        bias: as in `apply_`.
        noise: as in `apply_`.
        wanted: whether gradients to scale, bias and noise are.
    """
    to_scale, to_bias, to_noise = wanted
    bare = not epilogue.activate and epilogue.clamp is None and scale is None
    passed = gradient if bare else torch.empty_like(gradient)
    added = _noise_rows(noise, y)
    styles = 1 if scale is None else len(scale)
    exact = torch.promote_types(y.dtype, torch.float32)
    products, sums, shares = (y.new_zeros(styles, y.shape[1], dtype=exact) for _ in range(3))
    pixels = None if added is None else torch.zeros_like(added)
    table, values, out = as_rows(gradient), as_rows(y), as_rows(passed)
    for style, rows in blocks(y, styles):
        before, value, after = out[rows], values[rows], table[rows]
        if epilogue.clamp is not None and _reaches(value, epilogue.clamp):
            after = torch.ops.aten.hardtanh_backward(after, value, -epilogue.clamp, epilogue.clamp)
        if to_scale:
            _add_products(products[style], after, value)
        if epilogue.activate:
            torch.ops.aten.leaky_relu_backward.grad_input(
                after, value, LRELU_SLOPE, True, grad_input=before
            )
        elif not bare:
            before.copy_(after)
        if bias is not None and (to_bias or to_scale):
            sums[style] += before.sum(0, dtype=exact)
        if added is not None and to_scale:
            shares[style] += (before.t().to(exact) @ added[rows])[:, 0]
        if pixels is not None and to_noise:
            pixels[rows] = before.sum(1, keepdim=True, dtype=exact)
        if scale is not None:
            before.mul_(scale[style])
    if bias is not None:
        products -= sums * bias
    return Gradients(
        passed,
        products - shares if to_scale else None,
        sums.sum(0) if to_bias else None,
        _noise_gradient(pixels, noise, y) if to_noise else None,
    )


def scale_backward_(gradient: Tensor, x: Tensor, scale: Tensor, wanted: bool) -> Tensor | None:
    """Take the gradient to x * scale for that to x, in place, and return that to the scale.

    Args:
        gradient: [S * V, C, H, W], channels last.
        x: likewise.
        scale: [S, C].
        wanted: whether the gradient to the scale [S, C] is.
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    total = torch.zeros_like(scale, dtype=exact) if wanted else None
    table, values = as_rows(gradient), as_rows(x)
    for style, rows in blocks(x, len(scale)):
        part = table[rows]
        if total is not None:
            _add_products(total[style], part, values[rows])
        part.mul_(scale[style])
    return total


def products_of(gradient: Tensor, x: Tensor) -> Tensor:
    """Return the sum of gradient times map for every channel, [1, C]; both channels last."""
    total = x.new_zeros(1, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
    table, values = as_rows(gradient), as_rows(x)
    for _, rows in blocks(x, 1):
        _add_products(total[0], table[rows], values[rows])
    return total


def _add_products(total: Tensor, rows: Tensor, others: Tensor) -> None:
    """Add the sums of products over rows [P, C] to a total [C]."""
    total += (rows.to(total.dtype) * others).sum(0)


def may_ask(x: Tensor) -> bool:
    """Whether a number may be looked at: elsewhere than on a CPU all work before it would stop."""
    return x.device.type == "cpu"


def _reaches(part: Tensor, clamp: float) -> bool:
    """Whether a value does, or may do where none may be looked at."""
    if not may_ask(part):
        return True
    low, high = part.aminmax()
    return max(-low.item(), high.item()) >= clamp


def as_rows(maps: Tensor) -> Tensor:
    """View maps [N, C, H, W], channels last, as [N * H * W, C]."""
    return maps.permute(0, 2, 3, 1).view(-1, maps.shape[1])


def as_maps(rows: Tensor, like: Tensor) -> Tensor:
    """View rows [N * H * W, C] as maps of the size of others [N, ., H, W], channels last."""
    return rows.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)


def blocks(maps: Tensor, styles: int) -> Iterator[tuple[int, slice]]:
    """Yield every style's number with its rows of maps [S * V, C, H, W], block by block."""
    count, channels, height, width = maps.shape
    share = count // styles * height * width
    step = max(1, BLOCK // channels) if maps.device.type == "cpu" else share
    for style in range(styles):
        for start in range(style * share, (style + 1) * share, step):
            yield style, slice(start, min(start + step, (style + 1) * share))


def _noise_rows(noise: Tensor | None, y: Tensor) -> Tensor | None:
    """Noise [1 or N, 1, H, W] for every row of N maps, [N * H * W, 1]."""
    return None if noise is None else noise.expand(len(y), *noise.shape[1:]).reshape(-1, 1)


def _noise_gradient(pixels: Tensor | None, noise: Tensor | None, y: Tensor) -> Tensor | None:
    if pixels is None or noise is None:
        return None
    return pixels.view(len(y), *noise.shape[1:]).sum_to_size(noise.shape)
