"""The weighted sum of losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.errors import PluginError
from inv3d.core.fit.objective import LossTerm, Objective
from inv3d.core.loss import Cache, Loss, Target
from inv3d.core.scene import Rendering


class Square(Loss):
    """Mean squared difference of the images."""

    name = "square"

    def prepare(self, target: Target) -> Tensor:
        return target.images

    def forward(self, rendering: Rendering, cache: Cache) -> Tensor:
        assert isinstance(cache, Tensor)
        return (rendering.require("image") - cache).square().mean((1, 2, 3))


class Depths(Loss):
    """Mean depth; its cache is a dictionary."""

    name = "depths"
    needs = ("depth", "mask")

    def prepare(self, target: Target) -> dict[str, Tensor]:
        return {"scale": torch.arange(len(target.images)).float()}

    def forward(self, rendering: Rendering, cache: Cache) -> Tensor:
        assert isinstance(cache, dict)
        return rendering.require("depth").mean((1, 2, 3)) * cache["scale"]


class Wrong(Square):
    """Returns one number for all views."""

    def forward(self, rendering: Rendering, cache: Cache) -> Tensor:
        return super().forward(rendering, cache).mean()


def _rendering(views: int = 3) -> Rendering:
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(views, 3, 4, 4, generator=rng).requires_grad_()
    return Rendering(image=image, depth=torch.ones(views, 1, 2, 2), mask=torch.ones(views, 1, 2, 2))


def _objective(weight: float = 2.0) -> Objective:
    losses = {"square": (Square(PluginConfig()), weight), "depths": (Depths(PluginConfig()), 0.5)}
    return Objective(losses, Target(torch.zeros(3, 3, 4, 4)))


def test_total_is_the_weighted_sum_and_parts_are_not_weighted() -> None:
    rendering = _rendering()
    total, parts = _objective().evaluate(rendering, slice(0, 3))
    squares = rendering.require("image").square().mean((1, 2, 3)).sum()
    assert torch.allclose(total, 2 * squares + 0.5 * 3)
    assert torch.allclose(parts["square"], squares) and not parts["square"].requires_grad
    assert float(parts["depths"]) == 3.0


def test_views_add_up() -> None:
    objective, rendering = _objective(), _rendering()
    whole = objective.evaluate(rendering, slice(0, 3))[0]
    first = objective.evaluate(rendering[:2], slice(0, 2))[0]
    rest = objective.evaluate(rendering[2:], slice(2, 3))[0]
    assert torch.allclose(first + rest, whole)


def test_outputs_are_named_once_in_order() -> None:
    assert _objective().outputs == ("image", "depth", "mask")


def test_targets_are_prepared_without_gradient() -> None:
    images = torch.zeros(3, 3, 4, 4, requires_grad=True)
    objective = Objective({"square": (Square(PluginConfig()), 1.0)}, Target(images * 2))
    cache = objective.terms["square"].cache
    assert isinstance(cache, Tensor)


def test_a_loss_of_the_wrong_shape_is_named() -> None:
    objective = Objective({"wrong": (Wrong(PluginConfig()), 1.0)}, Target(torch.zeros(3, 3, 4, 4)))
    with pytest.raises(PluginError, match=r"loss 'wrong': returned shape \(\) for 3 views"):
        objective.evaluate(_rendering(), slice(0, 3))


def test_terms_keep_a_losses_own_options() -> None:
    term = LossTerm(weight=0.5, net="alex")  # type: ignore[call-arg]
    assert term.model_extra == {"net": "alex"}
