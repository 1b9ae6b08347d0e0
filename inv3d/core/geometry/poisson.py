"""Poisson blending: the gradients of one picture inside of a mask, the values of another around it.

Perez et al., "Poisson Image Editing", SIGGRAPH 2003. The result is the source plus a smooth
correction that takes the difference of the pictures at the edge of the mask and has no gradient of
its own in the middle: it solves the Laplace equation with that edge. Conjugate gradients solve it,
from a coarse grid to the full one, so that few steps do at full size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST = 16
_CHECK_EVERY = 10


def poisson_blend(
    source: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    tolerance: float = 1e-4,
    most_steps: int = 1000,
) -> Tensor:
    """Return the target with the source put in, without a seam.

    Differentiable in source and target, which it's linear in; not in the mask.

    Args:
        source: [N, C, H, W], whose gradients are taken inside of the mask.
        target: [N, C, H, W], which stays as it is outside of it.
        mask: [N, 1, H, W]; above 0.5 is inside. The edge of the picture is no seam, and where all
            of a picture is inside, the source is returned.
        tolerance: of the residual, relative to what is asked for.
        most_steps: of conjugate gradients at each size.

    Returns:
        [N, C, H, W]; values may leave the range of the pictures a little.

    Example:
        >>> import inv3d, torch
        >>> target = torch.rand(1, 3, 32, 32)
        >>> mask = torch.zeros(1, 1, 32, 32)
        >>> mask[..., 8:24, 8:24] = 1
        >>> blended = inv3d.poisson_blend(target + 0.5, target, mask)  # brighter, else the same
        >>> bool(torch.allclose(blended, target, atol=1e-3))
        True
    """
    inside = (mask > 0.5).to(source)
    difference = target - source
    correction: Tensor = _Membrane.apply(difference, inside, tolerance, most_steps)
    return source + torch.where(inside > 0, correction, difference)


class _Membrane(torch.autograd.Function):
    """The harmonic function inside of a mask that takes given values around it."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, inside: Tensor, tolerance: float, most_steps: int
    ) -> Tensor:
        ctx.save_for_backward(inside)
        ctx.limits = (tolerance, most_steps)
        return _membrane(values, inside, tolerance, most_steps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Solve the same symmetric system for the gradient, and take it at the edge."""
        (inside,) = ctx.saved_tensors
        given = gradients[0] * inside
        adjoint = _conjugate_gradients(given, torch.zeros_like(given), inside, *ctx.limits)
        return _neighbours(adjoint * inside) * (1 - inside), None, None, None


def _membrane(values: Tensor, inside: Tensor, tolerance: float, most_steps: int) -> Tensor:
    """Solve from the smallest grid up; each one starts from the solution of the one below it."""
    height, width = values.shape[-2:]
    start = torch.zeros_like(values)
    if min(height, width) >= 2 * _SMALLEST:
        outside = 1 - inside
        share = _halved(outside)
        below = _halved(values * outside) / share.clamp_min(1e-6)
        hole = (share == 0).to(values)
        solved = _membrane(below * (1 - hole), hole, tolerance, most_steps)
        coarse = torch.where(hole > 0, solved, below)
        start = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    asked = _neighbours(values * (1 - inside)) * inside
    return _conjugate_gradients(asked, start * inside, inside, tolerance, most_steps)


def _halved(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 2, ceil_mode=True)


def _neighbours(images: Tensor) -> Tensor:
    """Sum of the upper, lower, left and right neighbour of each pixel, as many as there are."""
    total = torch.zeros_like(images)
    total[..., 1:, :] += images[..., :-1, :]
    total[..., :-1, :] += images[..., 1:, :]
    total[..., :, 1:] += images[..., :, :-1]
    total[..., :, :-1] += images[..., :, 1:]
    return total


def _conjugate_gradients(
    asked: Tensor, start: Tensor, inside: Tensor, tolerance: float, most_steps: int
) -> Tensor:
    """Solve count * x - (its inner neighbours) = asked for the inner pixels, each channel alone."""
    count = _neighbours(torch.ones_like(inside)) * inside

    def apply(x: Tensor) -> Tensor:
        return count * x - _neighbours(x) * inside

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((2, 3), keepdim=True)

    x, residual = start, asked - apply(start)
    direction, norm = residual, product(residual, residual)
    enough = tolerance**2 * product(asked, asked)
    for step in range(most_steps):
        if step % _CHECK_EVERY == 0 and bool((norm <= enough).all()):
            break
        image = apply(direction)
        size = norm / product(direction, image).clamp_min(torch.finfo(x.dtype).tiny)
        x = x + size * direction
        residual = residual - size * image
        before, norm = norm, product(residual, residual)
        direction = residual + norm / before.clamp_min(torch.finfo(x.dtype).tiny) * direction
    return x
