"""Smoothing over time: noise goes, steady motion and its ends stay."""

from __future__ import annotations

import torch

from inv3d.photos.smooth import smoothed


def test_steady_motion_is_not_changed() -> None:
    time = torch.arange(40).double() / 30
    values = torch.stack([2 * time - 1, 5 - time], 1)
    torch.testing.assert_close(smoothed(time, values), values, atol=1e-9, rtol=0)


def test_noise_and_outliers_go() -> None:
    time = torch.arange(90).double() / 30
    clean = torch.sin(time / 3)[:, None]
    noise = 0.02 * torch.randn(90, 1, generator=torch.Generator().manual_seed(1)).double()
    noisy = clean + noise
    noisy[40] += 0.5
    result = smoothed(time, noisy)
    assert float((result - clean).abs().mean()) < 0.5 * float(noise.abs().mean())
    assert float((result - clean)[40].abs()) < 0.05


def test_uneven_times() -> None:
    time = torch.tensor([0.0, 0.01, 0.5, 2.0]).double()
    values = torch.tensor([[0.0], [0.1], [5.0], [20.0]]).double()
    assert bool(smoothed(time, values).isfinite().all())
