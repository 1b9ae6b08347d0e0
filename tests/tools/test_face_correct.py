"""Corrections are measured on rendered heads, and hold on others."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from inv3d.nn.face.correction import Correction
from inv3d.nn.face.model import FaceModel
from tools.face.correct import Fits, correction, framing, shared, single, trusted
from tools.face.measure import Look, heads
from tools.minihead.seeds import CAPTURES


@lru_cache(maxsize=1)
def people() -> list[list[Look]]:
    """Three heads of captures, one of which moves."""
    return [trusted(FaceModel.load(), views) for views in heads(CAPTURES.start + 900, 3)]


def errors(change: Correction, fits: Fits) -> Tensor:
    """Of yaw and pitch up to 62 degrees, [N, 2] degrees."""
    return _errors(fits.rough + fits.changes(change)[:, :2], fits)


def _errors(found: Tensor, fits: Fits) -> Tensor:
    near = fits.true[:, 0].rad2deg().abs() < 62
    return (found - fits.true)[near].rad2deg().abs()


@pytest.mark.slow
def test_angles_of_heads_that_nothing_was_measured_on() -> None:
    model = FaceModel.load()
    alone = Fits.cat([single(model, views) for views in people()])
    together = Fits.cat([shared(model, views) for views in people()])
    plain, one = _errors(alone.rough, alone), errors(model.one, alone)
    many = errors(model.many, together)
    (yaw, pitch), (yaw_one, pitch_one) = plain.mean(0).tolist(), one.mean(0).tolist()
    assert yaw_one < 0.95 * yaw and pitch_one < 0.8 * pitch
    assert float(many[:, 1].mean()) < 0.7 * pitch


def test_a_stretch_that_goes_with_a_difference_is_found() -> None:
    """Yaws are too large for people who differ in one way, and by how much they differ."""
    rng, model = torch.Generator().manual_seed(1), FaceModel.load()
    odd = torch.randn(468, 3, generator=rng).double() * 0.01
    odd = (odd + odd[model.mirror.long()] * torch.tensor([-1.0, 1.0, 1.0]).double()) / 2

    def fits(count: int) -> Fits:
        amount = torch.randn(count, generator=rng).double()
        true = torch.stack([torch.rand(count, generator=rng) - 0.5, torch.zeros(count)], 1).double()
        noise = 1e-4 * torch.randn(count, 1, 468, 3, generator=rng).double()
        stretch = torch.stack([1 + 0.1 * amount, torch.ones(count).double()], 1)
        apart = noise + (amount[:, None, None] * odd)[:, None]
        pixels = torch.rand(count, 468, 2, generator=rng).double()
        return Fits(true * stretch, apart, pixels, true, torch.arange(count))

    made, others = correction(model, fits(300), 1.0), fits(60)
    before, after = _errors(others.rough, others), errors(made, others)
    assert float(after[:, 0].mean()) < 0.2 * float(before[:, 0].mean())


@pytest.mark.slow
def test_squares_of_a_head_are_more_alike() -> None:
    model = FaceModel.load()
    fits = Fits.cat([shared(model, views) for views in people()])
    changes = fits.changes(model.many)
    needed = framing(model, fits, fits.rough + changes[:, :2])
    left = (needed - changes[:, 2:])[fits.true[:, 0].abs() < 1.08]
    needed = needed[fits.true[:, 0].abs() < 1.08]
    assert float(left[:, 1].std()) < 0.9 * float(needed[:, 1].std())
    assert float(left.var(0).sum()) < float(needed.var(0).sum())
