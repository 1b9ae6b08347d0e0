"""Poisson blending against a dense solution."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.geometry.poisson import poisson_blend

NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def dense(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The same for one picture [C, H, W], by a matrix with a row for each pixel."""
    height, width = mask.shape
    channels = len(source)
    matrix = torch.eye(height * width, dtype=source.dtype)
    asked = target.reshape(channels, -1).T.clone()
    for y, x in mask.nonzero().tolist():
        row = y * width + x
        matrix[row], asked[row] = 0, 0
        for dy, dx in NEIGHBOURS:
            if 0 <= y + dy < height and 0 <= x + dx < width:
                matrix[row, row] += 1
                matrix[row, (y + dy) * width + x + dx] -= 1
                asked[row] += source[:, y, x] - source[:, y + dy, x + dx]
    return torch.linalg.solve(matrix, asked).T.reshape(source.shape)


def pictures(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    source, target = torch.rand(2, 2, 3, height, width, generator=rng, dtype=torch.float64)
    mask = (torch.rand(2, 1, height, width, generator=rng) > 0.4).double()
    return source, target, mask


def test_it_is_the_solution_of_the_equation() -> None:
    source, target, mask = pictures(9, 8)
    found = poisson_blend(source, target, mask, tolerance=1e-12)
    for n in range(2):
        expected = dense(source[n], target[n], mask[n, 0])
        torch.testing.assert_close(found[n], expected, atol=1e-9, rtol=0)


def test_a_large_hole_through_smaller_grids() -> None:
    source, target, mask = pictures(37, 40)
    mask[:] = 0
    mask[..., 3:36, 0:34] = 1
    found = poisson_blend(source, target, mask, tolerance=1e-10)
    for n in range(2):
        expected = dense(source[n], target[n], mask[n, 0])
        torch.testing.assert_close(found[n], expected, atol=1e-7, rtol=0)


def test_around_the_mask_nothing_changes_and_a_shift_vanishes() -> None:
    source, target, mask = pictures(20, 20)
    found = poisson_blend(source, target, mask)
    assert torch.equal(found * (1 - mask), target * (1 - mask))
    shifted = poisson_blend(target + 0.3, target, mask, tolerance=1e-9)
    torch.testing.assert_close(shifted, target, atol=1e-7, rtol=0)


def test_where_all_is_inside_it_is_the_source_and_where_nothing_is_the_target() -> None:
    source, target, mask = pictures(18, 18)
    assert torch.equal(poisson_blend(source, target, torch.ones_like(mask)), source)
    nothing = poisson_blend(source, target, torch.zeros_like(mask))
    torch.testing.assert_close(nothing, target)


def test_gradients() -> None:
    source, target, mask = pictures(6, 5)

    def blend(one: Tensor, other: Tensor) -> Tensor:
        return poisson_blend(one, other, mask, tolerance=1e-13)

    leaves = source.requires_grad_(), target.requires_grad_()
    assert torch.autograd.gradcheck(blend, leaves)
