"""The weighted sum of losses."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.errors import ConfigError, InputError, PluginError
from inv3d.core.fit.context import Context
from inv3d.core.fit.objective import Objective, WeightedLoss
from inv3d.core.fit.terms import LossTerm, LossTerms
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering


class Square(Loss[PluginConfig, Tensor]):
    """Mean squared difference of the images."""

    name = "square"

    def prepare(self, target: Target) -> Tensor:
        return target.images

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        return (rendering.require("image") - cache).square().mean((1, 2, 3))


class Depths(Loss[PluginConfig, dict[str, Tensor]]):
    """Mean depth; its cache is a dictionary."""

    name = "depths"
    needs = ("depth", "mask")

    def prepare(self, target: Target) -> dict[str, Tensor]:
        return {"scale": torch.arange(len(target.images)).float()}

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:
        return rendering.require("depth").mean((1, 2, 3)) * cache["scale"]


class Wrong(Square):
    """Returns one number for all views."""

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        return super().forward(rendering, cache).mean()


def _rendering(views: int = 3) -> Rendering:
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(views, 3, 4, 4, generator=rng).requires_grad_()
    return Rendering(image=image, depth=torch.ones(views, 1, 2, 2), mask=torch.ones(views, 1, 2, 2))


def _objective(weight: float = 2.0) -> Objective:
    losses = {
        "square": WeightedLoss(Square(PluginConfig()), weight),
        "depths": WeightedLoss(Depths(PluginConfig()), 0.5),
    }
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
    objective = Objective({"square": WeightedLoss(Square(PluginConfig()), 1.0)}, Target(images * 2))
    cache = objective.terms["square"].cache
    assert isinstance(cache, Tensor)


def test_a_loss_of_the_wrong_shape_is_named() -> None:
    objective = Objective(
        {"wrong": WeightedLoss(Wrong(PluginConfig()), 1.0)}, Target(torch.zeros(3, 3, 4, 4))
    )
    with pytest.raises(PluginError, match=r"loss 'wrong': returned shape \(\) for 3 views"):
        objective.evaluate(_rendering(), slice(0, 3))


def test_terms_keep_a_losses_own_options() -> None:
    term = LossTerm(weight=0.5, net="alex")  # type: ignore[call-arg]
    assert term.options == {"net": "alex"}


def test_views_have_weights() -> None:
    weights = torch.tensor([1.0, 0.0, 2.0])
    losses = {"square": WeightedLoss(Square(PluginConfig()), 3.0)}
    objective = Objective(losses, Target(torch.zeros(3, 3, 4, 4), weights=weights))
    rendering = _rendering()
    each = rendering.require("image").square().mean((1, 2, 3))
    total, parts = objective.evaluate(rendering, slice(0, 3))
    assert torch.allclose(parts["square"], (each * weights).sum())
    assert torch.allclose(total, 3 * (each * weights).sum())
    assert torch.allclose(objective.evaluate(rendering[2:], slice(2, 3))[0], 6 * each[2])


def test_a_loss_can_look_at_the_raw_image_beside_the_final_one() -> None:
    context = Context.create()
    terms = {"mse": LossTerm(), "raw": LossTerm(loss="mse", of="raw", weight=2.0)}
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    objective = context.objective(terms, Target(images, rays=4))
    assert objective.outputs == ("image", "raw")
    small = torch.nn.functional.avg_pool2d(images, 2)
    seen = Rendering(image=images + 0.5, raw=small + 0.25)
    total, parts = objective.evaluate(seen, slice(0, 2))
    assert float(parts["mse"]) == pytest.approx(2 * 0.25)
    assert float(parts["raw"]) == pytest.approx(2 * 0.0625)
    assert float(total) == pytest.approx(0.5 + 2 * 0.125)


@pytest.mark.parametrize("of", ["image", "raw"])
def test_a_map_says_where_pictures_are_compared(of: str) -> None:
    left = torch.zeros(2, 1, 8, 8)
    left[..., :4] = 1
    images = torch.zeros(2, 3, 8, 8)
    target = Target(images, maps={"visible": left}, rays=4)
    term = LossTerm(loss="mse", of=of, where="visible")  # type: ignore[arg-type]
    objective = Context.create().objective({"seen": term}, target)
    seen = Rendering(image=torch.ones(2, 3, 8, 8), raw=torch.ones(2, 3, 4, 4))
    assert float(objective.evaluate(seen, slice(0, 2))[1]["seen"]) == pytest.approx(2 * 0.5)
    mean = LossTerm(loss="mse", mask="visible")  # type: ignore[call-arg]
    objective = Context.create().objective({"mean": mean}, target)
    assert float(objective.evaluate(seen[1:], slice(1, 2))[1]["mean"]) == pytest.approx(1.0)


def test_a_map_that_is_not_there_is_one_line() -> None:
    target = Target(torch.zeros(1, 3, 4, 4), maps={"visible": torch.ones(1, 1, 4, 4)})
    for name, text in {
        "seen": "option 'where' of loss mse: this method has no map 'seen' (its maps: visible)",
        "mask": "option 'where' of loss mse: the capture has no masks",
    }.items():
        with pytest.raises(InputError) as error:
            Context.create().objective({"mse": LossTerm(where=name)}, target)
        assert str(error.value).startswith(text)


@pytest.mark.parametrize("option", ["of", "where"])
def test_a_loss_that_looks_at_no_picture_is_not_told_which(option: str) -> None:
    term = LossTerm.model_validate({option: {"of": "raw", "where": "mask"}[option]})
    target = Target(torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4), anchor=torch.zeros(1, 8))
    with pytest.raises(ConfigError) as error:
        Context.create().objective({"w_norm": term}, target)
    text = f"option '{option}' of loss w_norm: it looks at no picture; leave it out"
    assert str(error.value) == text


def test_terms_read_what_they_look_at_from_options() -> None:
    class Config(PluginConfig):
        losses: LossTerms

    given = {
        "losses": {"raw": {"loss": "mse", "of": "raw", "weight": 2, "resolution": 64}, "l1": 1}
    }
    terms = Config.model_validate(given).losses
    assert (terms["raw"].loss, terms["raw"].of) == ("mse", "raw")
    assert terms["raw"].options == {"resolution": 64} and terms["l1"].loss is None
    with pytest.raises(ValidationError):
        Config.model_validate({"losses": {"raw": {"of": "depth"}}})


def test_joined_objectives_are_their_sum_on_one_rendering() -> None:
    parts = {"one": _objective(), "two": _objective(3.0)}
    whole = Objective.joined(parts)
    rendering = _rendering()
    total, sums = whole.evaluate(rendering, slice(0, 3))
    alone = {name: part.evaluate(rendering, slice(0, 3)) for name, part in parts.items()}
    torch.testing.assert_close(total, alone["one"][0] + alone["two"][0])
    assert set(sums) == {"one/square", "one/depths", "two/square", "two/depths"}
    torch.testing.assert_close(sums["two/square"], alone["two"][1]["square"])
    assert set(whole.outputs) == {"image", "depth", "mask"}
    assert set(parts["one"].terms) == {"square", "depths"}


def test_objectives_that_do_not_belong_together_are_not_joined() -> None:
    square = {"square": WeightedLoss(Square(PluginConfig()), 1.0)}
    other = Objective(square, Target(torch.zeros(2, 3, 4, 4)))
    with pytest.raises(ValueError, match="other views"):
        Objective.joined({"one": _objective(), "two": other})
    with pytest.raises(ValueError, match="no objective"):
        Objective.joined({})
