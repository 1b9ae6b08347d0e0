"""Looks at a few views in turn: together they are the look at all of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.options import TuningOptions
from inv3d.core.fit.stages import looks_in_turn, tune
from inv3d.core.fit.terms import LossTerm
from inv3d.core.fit.turns import Turns
from inv3d.core.latent import latent_statistics
from inv3d.core.loss import Target
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.tiny_generators import tiny

GENERATOR = ToyGenerator(ToyConfig()).double().requires_grad_(False)
VIEWS = toy_capture(GENERATOR, 7, seed=3).to("cpu", torch.float64)
MEAN = latent_statistics(GENERATOR, 100).mean
TERMS = {name: LossTerm(weight=2.0) for name in ("mse", "l1", "w_norm")}


def _gradients(views: int | None) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
    """Losses and gradient of every step of a round."""
    context = Context.create()
    turns = Turns.by_angle(VIEWS.camera, views)
    anchor = MEAN[None] + 1.0
    looks = looks_in_turn(GENERATOR, VIEWS, context.losses(TERMS), turns, anchor=anchor)
    losses, gradients = [], []
    for look in looks:
        ws = MEAN.repeat(1, 4, 1).requires_grad_()
        losses.append(context.backward(GENERATOR, ws, look))
        assert ws.grad is not None
        gradients.append(ws.grad)
    return losses, gradients


@pytest.mark.parametrize("views", [1, 2, 3, 6])
def test_the_mean_over_a_round_is_the_sum_over_all_views(views: int) -> None:
    (whole,), (gradient,) = _gradients(None)
    losses, gradients = _gradients(views)
    assert len(gradients) == 7
    torch.testing.assert_close(torch.stack(gradients).mean(0), gradient)
    for name, value in whole.items():
        mean = torch.stack([one[name] for one in losses]).mean()
        torch.testing.assert_close(mean, value)


def test_losses_of_a_step_are_as_large_as_those_of_all_views() -> None:
    (whole,), _ = _gradients(None)
    losses, _ = _gradients(2)
    for one in losses:
        assert float(one["w_norm"]) == pytest.approx(float(whole["w_norm"]))
        assert 0.3 < float(one["mse"] / whole["mse"]) < 3


def _moved(optimizer: str) -> tuple[Tensor, Tensor]:
    """How a step of tuning changes a kernel and a layer of styles."""
    generator = tiny(EG3D).double().eval().requires_grad_(False)
    context = Context.create()
    generator.rng = context.state.generators["render"]
    first = generator.backbone.synthesis.get_submodule("b8.conv0")
    kernel, styles = first.weight, first.affine.weight
    before = kernel.detach().clone(), styles.detach().clone()
    size = generator.spec.resolution
    target = Target(torch.zeros(1, 3, size, size, dtype=torch.float64))
    look = Look(generator.spec.camera.front().to("cpu", torch.float64),
                context.objective({"mse": LossTerm(weight=1.0)}, target))  # fmt: skip
    ws = latent_statistics(generator, 10).mean.expand(1, generator.spec.num_ws, -1)

    def update(step: int) -> dict[str, Tensor]:
        return context.backward(generator, ws, look)

    options = TuningOptions.model_validate({"optimizer": optimizer, "steps": 1, "lr": 1e-3})
    list(tune(generator, context, options, {"fit": update}))
    return kernel.detach() - before[0], styles.detach() - before[1]


def test_tuning_takes_the_optimiser_that_its_options_name() -> None:
    (adam, styles), (muon, own) = _moved("adam"), _moved("muon")
    for moved in (adam, styles, own):
        torch.testing.assert_close(moved, 1e-3 * moved.sign(), rtol=1e-2, atol=1e-4)
    length = 1e-3 * 0.3 * max(len(muon), muon[0].numel()) ** 0.5
    assert 0.65 < float(torch.linalg.svdvals(muon.flatten(1))[0]) / length < 1.25
