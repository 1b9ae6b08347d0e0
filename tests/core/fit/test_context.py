"""What a method is given: random numbers, losses, other methods."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inv3d.core.config import build_config
from inv3d.core.errors import ConfigError, PluginError, UnsupportedError
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.terms import LossTerm
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import load_method
from inv3d.core.loss import Target
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
    assert set(losses) == {"mse"} and losses["mse"].weight == 2.0
    assert not losses["mse"].loss.training


def test_a_loss_that_nothing_gave_a_weight_counts_once() -> None:
    assert Context.create().losses({"mse": LossTerm()})["mse"].weight == 1.0


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


def test_losses_are_built_once_a_run() -> None:
    context = Context.create()
    terms = {"mse": LossTerm(weight=1.0), "half": LossTerm(loss="mse", weight=0.5)}
    first, second = context.losses(terms), context.within("start").losses(terms)
    assert first["mse"].loss is first["half"].loss is second["mse"].loss
    other = context.losses({"mse": LossTerm(resolution=8)})  # type: ignore[call-arg]
    assert other["mse"].loss is not first["mse"].loss


def test_history_has_options_preset_and_parent() -> None:
    config = build_config(load_method("wplus").Config, {"latent": {"steps": 3}}, "")
    (made,) = Context.create(preset="fast").history("wplus", config)
    assert (made.kind, made.name, made.preset, made.parent) == ("method", "wplus", "fast", "")
    assert made.options["latent"]["steps"] == 3
    generator = ToyGenerator(ToyConfig())
    init = Inversion(
        torch.zeros(1, 4, 8), generator.spec.camera.front(), "toy", "", history=(made,)
    )
    first, second = Context.create(init=init).history("pti", config)
    assert first == made and second.parent == init.digest() != ""


def test_an_output_that_the_generator_does_not_make_is_one_line() -> None:
    generator = ToyGenerator(ToyConfig())
    generator.spec = replace(generator.spec, outputs=("image", "raw"))
    context, camera = Context.create(), generator.spec.camera.front()
    ws = torch.zeros(1, 4, 8, requires_grad=True)
    target = Target(torch.zeros(1, 3, 32, 32), depths=torch.ones(1, 1, 16, 16))
    objective = context.objective({"depth_consistency": LossTerm()}, target)
    with pytest.raises(UnsupportedError, match="loss depth_consistency: needs the output 'depth'"):
        context.backward(generator, ws, Look(camera, objective))
    look = Look(camera, joint=lambda seen, cameras: seen.require("mask").sum(), outputs=("mask",))
    with pytest.raises(UnsupportedError, match="this method: needs the output 'mask', but gen"):
        context.backward(generator, ws, look)
