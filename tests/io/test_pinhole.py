"""Pinholes in pixels: the square in the middle, and lenses that bend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.io.pinhole import Pinhole

PLAIN = Pinhole(width=80, height=60, fx=100, fy=100, cx=40, cy=30)
BENT = Pinhole(80, 60, 100, 100, 40, 30, radial=(-0.3, 0.1), tangential=(0.01, -0.02))


def test_the_square_has_its_own_intrinsics() -> None:
    assert PLAIN.square() == pytest.approx([100 / 60, 0, 0.5, 0, 100 / 60, 0.5, 0, 0, 1])


def test_bending_is_opencvs() -> None:
    x, y = torch.tensor([0.2]).double(), torch.tensor([-0.1]).double()
    square = 0.05
    factor = 1 - 0.3 * square + 0.1 * square**2
    found = BENT.bent(x, y)
    assert float(found[0]) == pytest.approx(
        0.2 * factor + 2 * 0.01 * 0.2 * -0.1 - 0.02 * (square + 2 * 0.04)
    )
    assert float(found[1]) == pytest.approx(
        -0.1 * factor + 0.01 * (square + 2 * 0.01) + 2 * -0.02 * 0.2 * -0.1
    )


def test_a_rational_model_is_divided() -> None:
    lens = Pinhole(80, 60, 100, 100, 40, 30, radial=(0.1,), divisor=(0.2,))
    x, _ = lens.bent(torch.tensor([1.0]), torch.tensor([0.0]))
    assert float(x) == pytest.approx(1.1 / 1.2)


def dot(x: float, y: float) -> Image.Image:
    """A soft dot in a picture that the lens took, at twice the size of its camera."""
    columns, rows = np.meshgrid(np.arange(160) + 0.5, np.arange(120) + 0.5)
    levels = 255 * np.exp(-((columns - 2 * x) ** 2 + (rows - 2 * y) ** 2) / 8)
    return Image.fromarray(levels.round().astype(np.uint8))


@pytest.mark.parametrize("direction", [(0.0, 0.0), (0.3, 0.2), (-0.3, 0.1)])
def test_a_point_comes_to_where_a_pinhole_sees_it(direction: tuple[float, float]) -> None:
    x, y = BENT.bent(*(torch.tensor([d]).double() for d in direction))
    taken = dot(float(x) * 100 + 40, float(y) * 100 + 30)
    found = np.asarray(BENT.undistorted(taken)).astype(float)
    rows, columns = np.mgrid[:120, :160] + 0.5
    centre = (found * columns).sum() / found.sum(), (found * rows).sum() / found.sum()
    expected = 2 * (direction[0] * 100 + 40), 2 * (direction[1] * 100 + 30)
    assert centre == pytest.approx(expected, abs=0.3)


def test_without_distortion_nothing_changes() -> None:
    assert not PLAIN.distorted and BENT.distortion == "k1 -0.3, k2 0.1, p1 0.01, p2 -0.02"
    for mode, kind in (("RGB", np.uint8), ("L", np.uint8), ("I;16", np.uint16)):
        shape = (60, 80, 3) if mode == "RGB" else (60, 80)
        levels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, dtype=kind)
        found = PLAIN.undistorted(Image.fromarray(levels), smooth=mode == "RGB")
        np.testing.assert_allclose(np.asarray(found).astype(int), levels, atol=1)
