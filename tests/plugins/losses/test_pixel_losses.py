import pytest
import torch
from torch.nn import functional as F

from inv3d.core.errors import InputError
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.pixel import L1, MSE, SmoothL1, SmoothL1Config
from tests.golden_cases import GoldenCase


def images(seed, count=3, size=16):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=rng) * 2 - 1


def value(loss, image, target):
    return loss(Rendering(image=image), loss.prepare(target))


def test_mse_is_the_golden_one():
    case = GoldenCase("projector_regularisers").tensors
    loss = MSE.create(MSE.Config())
    found = value(loss, case["mse_a"], Target(case["mse_b"]))
    assert float(found[0]) == pytest.approx(float(case["mse"]), rel=1e-5)


def test_one_mean_a_view():
    a, b = images(0), images(1)
    difference = a - b
    target = Target(b)
    assert torch.allclose(
        value(MSE.create(MSE.Config()), a, target), difference.square().mean((1, 2, 3))
    )
    assert torch.allclose(
        value(L1.create(L1.Config()), a, target), difference.abs().mean((1, 2, 3))
    )
    smooth = value(SmoothL1.create(SmoothL1Config(beta=0.5)), a, target)
    each = [F.smooth_l1_loss(x, y, beta=0.5) for x, y in zip(a, b, strict=True)]
    assert torch.allclose(smooth, torch.stack(each))


def test_resolution_compares_area_means():
    a, b = images(0), images(1)
    loss = MSE.create(MSE.Config(resolution=4))
    expected = (F.avg_pool2d(a, 4) - F.avg_pool2d(b, 4)).square().mean((1, 2, 3))
    assert torch.allclose(value(loss, a, Target(b)), expected, atol=1e-6)
    larger = MSE.create(MSE.Config(resolution=64))
    assert torch.allclose(value(larger, a, Target(b)), (a - b).square().mean((1, 2, 3)))


def test_mask_is_a_weighted_mean():
    a, b = images(0), images(1)
    masks = torch.zeros(3, 1, 16, 16)
    masks[..., :8, :] = 1
    loss = L1.create(L1.Config(mask=True))
    found = value(loss, a, Target(b, masks=masks))
    assert torch.allclose(found, (a - b)[..., :8, :].abs().mean((1, 2, 3)), atol=1e-6)
    empty = value(loss, a, Target(b, masks=torch.zeros_like(masks)))
    assert torch.equal(empty, torch.zeros(3))


def test_mask_without_masks_is_refused():
    with pytest.raises(InputError, match="no masks"):
        MSE.create(MSE.Config(mask=True)).prepare(Target(images(0)))


@pytest.mark.parametrize("mask", [False, True])
def test_select_gives_the_views_of_a_chunk(mask):
    a, b = images(0), images(1)
    loss = MSE.create(MSE.Config(mask=mask, resolution=8))
    cache = loss.prepare(Target(b, masks=torch.rand(3, 1, 16, 16)))
    whole = loss(Rendering(image=a), cache)
    part = loss(Rendering(image=a[1:3]), loss.select(cache, slice(1, 3)))
    assert torch.allclose(whole[1:3], part)
