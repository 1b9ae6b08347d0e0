"""The contextual loss against its equations, written out place by place."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.core.errors import ConfigError
from inv3d.core.loss import Target, load_loss
from inv3d.core.scene import Rendering
from inv3d.plugins.losses.contextual import contextual_distance
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture

IMAGES = toy_capture(ToyGenerator(ToyConfig()), 3).images


def place_by_place(found: Tensor, wanted: Tensor, band: float, most: float) -> float:
    """Eq. 1 to 4 of the paper for one pair of maps [C, h, w], in plain loops."""
    x, y = (part.flatten(1).T.double() for part in (found, wanted))
    middle = y.mean(0)
    x, y = (part - middle for part in (x, y))
    rows = []
    for one in x:
        distances = [1 - float(one @ other / one.norm() / other.norm()) for other in y]
        relative = [d / (min(distances) + 1e-5) for d in distances]
        weights = [math.exp((1 - min(most, r)) / band) for r in relative]
        rows.append([w / sum(weights) for w in weights])
    best = [max(row[j] for row in rows) for j in range(len(y))]
    return -math.log(sum(best) / len(best) + 1e-5)


@pytest.mark.parametrize(("band", "most"), [(0.5, 10.0), (0.1, 3.0)])
def test_equals_the_equations(band: float, most: float) -> None:
    rng = torch.Generator().manual_seed(0)
    found, wanted = (torch.randn(2, 5, h, 4, generator=rng) for h in (3, 6))
    values = contextual_distance(found, wanted, band, most)
    expected = [place_by_place(found[i], wanted[i], band, most) for i in range(2)]
    torch.testing.assert_close(values, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_places_need_not_lie_over_one_another() -> None:
    rng = torch.Generator().manual_seed(1)
    maps, others = torch.randn(2, 1, 8, 6, 6, generator=rng)
    moved = contextual_distance(maps.roll(2, 3).flip(2), maps, 0.5, 10.0)
    torch.testing.assert_close(moved, contextual_distance(maps, maps, 0.5, 10.0))
    assert float(moved) < 1e-3 < float(contextual_distance(others, maps, 0.5, 10.0))


def test_gradients_equal_differences() -> None:
    rng = torch.Generator().manual_seed(2)
    found, wanted = torch.randn(2, 1, 4, 3, 3, generator=rng, dtype=torch.float64)
    function = lambda x: contextual_distance(x, wanted, 0.5, 10.0)  # noqa: E731
    assert torch.autograd.gradcheck(function, [found.requires_grad_()])


@pytest.mark.parametrize("options", [{}, {"layer": "2"}, {"unit": False}, {"places": 4}])
def test_pictures_like_the_target_are_nearer(options: dict[str, Any]) -> None:
    loss = load_loss("contextual", options)
    cache = loss.prepare(Target(IMAGES))
    same, mirrored = (loss(Rendering(image=x), cache) for x in (IMAGES, IMAGES.flip(-1)))
    assert same.shape == (3,) and bool((same < mirrored).all())
    some = slice(1, 3)
    part = loss(Rendering(image=IMAGES.flip(-1)[some]), loss.select(cache, some))
    torch.testing.assert_close(part, mirrored[some])


def test_a_flat_picture_has_a_gradient() -> None:
    loss = load_loss("contextual")
    images = torch.zeros_like(IMAGES).requires_grad_()
    loss(Rendering(image=images), loss.prepare(Target(torch.zeros_like(IMAGES)))).sum().backward()
    assert images.grad is not None and bool(images.grad.isfinite().all())


def test_errors_are_one_line() -> None:
    for options, said in (
        ({"features": "mse"}, "option 'features' of loss contextual: loss mse tells no features"),
        ({"most": 1}, "option 'most' of loss contextual"),
        ({"layer": "9"}, "loss headfeat has no layer '9'"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            load_loss("contextual", options).prepare(Target(IMAGES))
        assert "\n" not in str(caught.value)
