"""Squares of pictures: where they are, and what they show."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inv3d.nn.face.square import Square, cut, whole


def ramp(width: int, height: int) -> Tensor:
    """Red is x, green is y, in pixel centres."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)])


def test_positions_go_there_and_back() -> None:
    square = Square(30.0, 20.0, 14.0, 0.4)
    uv = torch.rand(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(square.to_square(square.to_picture(uv)), uv)
    middle = square.to_picture(torch.tensor([0.5, 0.5]).double())
    torch.testing.assert_close(middle, torch.tensor([30.0, 20.0]).double())


def test_a_positive_roll_turns_clockwise() -> None:
    right = Square(0.0, 0.0, 2.0, math.pi / 2).to_picture(torch.tensor([1.0, 0.5]).double())
    torch.testing.assert_close(right, torch.tensor([0.0, 1.0]).double())  # y points down


@pytest.mark.parametrize("roll", [0.0, 0.3, math.pi / 2, math.pi])
@pytest.mark.parametrize("side", [16.0, 40.0])
def test_a_cut_shows_what_lies_there(roll: float, side: float) -> None:
    square = Square(50.0, 40.0, side, roll)
    shown = cut(ramp(100, 80), square, 16)
    steps = (torch.arange(16) + 0.5).double() / 16
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    expected = square.to_picture(torch.stack([u, v], -1)).permute(2, 0, 1).float()
    inner = (slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(shown[:2][inner], expected[inner], atol=0.35, rtol=0)


def test_bytes_become_levels_and_the_outside_is_filled() -> None:
    picture = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    beyond = cut(picture, Square(8.0, 4.0, 8.0), 8, fill=0.25)
    assert float(beyond[:, 4, 1].min()) == pytest.approx(1.0)
    assert float(beyond[:, 4, -1].max()) == pytest.approx(0.25)
    assert float(cut(picture, Square(8.0, 4.0, 8.0), 8, fill=None).min()) == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(4, 4), (1, 9), (300, 2)])
def test_pictures_of_any_size_can_be_cut(size: tuple[int, int]) -> None:
    shown = cut(torch.rand(3, *size), whole(size[1], size[0]), 32)
    assert shown.shape == (3, 32, 32) and bool(shown.isfinite().all())


def test_the_share_outside() -> None:
    assert Square(50.0, 50.0, 40.0).outside(100, 100) == 0
    assert Square(0.0, 50.0, 40.0).outside(100, 100) == pytest.approx(0.5, abs=0.05)
