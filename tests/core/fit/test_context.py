"""What a method is given: random numbers, losses, other methods."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inv3d.core.errors import ConfigError, PluginError
from inv3d.core.fit.context import Context
from inv3d.core.fit.objective import LossTerm
from inv3d.core.inverter import load_method
from inv3d.core.loss import Target
from inv3d.core.weights.known import WeightFile
from inv3d.testing.toy import ToyConfig, ToyGenerator


def test_random_numbers_follow_the_seed_alone() -> None:
    first, second, other = Context.create(seed=1), Context.create(seed=1), Context.create(seed=2)
    like = torch.zeros(0)
    torch.manual_seed(0)
    draw = first.randn((3, 4), like)
    torch.manual_seed(1)
    assert torch.equal(second.randn((3, 4), like), draw)
    assert not torch.equal(other.randn((3, 4), like), draw)
    assert [first.randint(5) for _ in range(20)] == [second.randint(5) for _ in range(20)]


def test_random_numbers_take_the_type_of_a_tensor() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert Context.create().randn((2,), like).dtype == torch.float64


def test_losses_by_name_with_options_and_without_those_of_weight_0() -> None:
    terms = {"mse": LossTerm(weight=2.0), "l1": LossTerm(weight=0.0)}
    losses = Context.create().losses(terms)
    assert set(losses) == {"mse"} and losses["mse"][1] == 2.0
    assert not losses["mse"][0].training


def test_a_loss_that_nothing_gave_a_weight_counts_once() -> None:
    assert Context.create().losses({"mse": LossTerm()})["mse"][1] == 1.0


def test_weights_for_another_variant_are_a_warning_that_names_both() -> None:
    context, generator = Context.create(), ToyGenerator(ToyConfig())
    file = WeightFile("e.pt", "an encoder", "MIT", "https://example.org", fits=("toy", "toy-2"))
    context.check_fit(file, generator)
    assert context.state.notices == []
    context.check_fit(replace(file, fits=("toy-2",)), generator)
    (text,) = context.state.notices
    assert text.startswith("e.pt is made for toy-2, but the generator is toy: ")


def test_no_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="every weight is 0"):
        Context.create().losses({"mse": LossTerm(weight=0.0)})


def test_unknown_loss_is_suggested() -> None:
    with pytest.raises(PluginError, match="unknown loss 'msse'; did you mean 'mse'"):
        Context.create().objective({"msse": LossTerm()}, Target(torch.zeros(1, 3, 4, 4)))


def test_unknown_option_of_a_loss_names_it() -> None:
    with pytest.raises(ConfigError, match="unknown option 'nett' of loss mse"):
        Context.create().loss("mse", LossTerm(nett="alex"))  # type: ignore[call-arg]


def test_unknown_option_of_a_method_names_it() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'latent\.step' of method wplus"):
        load_method("wplus", {"latent": {"step": 3}}, ToyGenerator(ToyConfig()))


def test_method_within_a_method_has_its_own_stage_names_and_no_init() -> None:
    context = Context.create().within("start")
    assert context.prefix == "start/" and context.within("deep").prefix == "start/deep/"
    assert context.init is None


def test_notices_are_left_once() -> None:
    context = Context.create()
    context.notice("careful")
    context.notice("careful")
    assert context.state.notices == ["careful"]
