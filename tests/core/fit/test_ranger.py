from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Stage
from inv3d.core.fit.ranger import Ranger, ranger, rectified
from inv3d.core.fit.schedule import constant
from tests.golden_cases import GoldenCase


def test_golden_path():
    case = GoldenCase("ranger")
    given = case.facts["kwargs"]
    variables = [case.tensors[f"init{i}"].clone().requires_grad_() for i in range(3)]
    optimizer = Ranger(
        variables,
        given["lr"],
        alpha=given["alpha"],
        k=given["k"],
        threshold=given["N_sma_threshhold"],
        betas=tuple(given["betas"]),
        eps=given["eps"],
        weight_decay=given["weight_decay"],
    )
    for step in range(40):
        for i, variable in enumerate(variables):
            variable.grad = case.tensors[f"grads{i}"][step]
        optimizer.step()
        for i, variable in enumerate(variables):
            expected = case.tensors[f"path{i}"][step]
            torch.testing.assert_close(variable.detach(), expected, atol=1e-6, rtol=0)


def _walk(steps=9, lr=0.1, start=None, gradient=None, **options):
    """Path of one tensor [3, 2, 2, 2] in float64 under equal gradients, unless they're given."""
    start = torch.ones(3, 2, 2, 2, dtype=torch.float64) if start is None else start
    variable = start.clone().requires_grad_()
    optimizer = Ranger([variable], lr, **options)
    rng = torch.Generator().manual_seed(0)
    gradients = torch.randn(steps, *start.shape, generator=rng, dtype=torch.float64)
    path = []
    for step in range(steps):
        variable.grad = gradients[step] if gradient is None else gradient(variable.detach())
        optimizer.step()
        path.append(variable.detach().clone())
    return torch.stack(path)


def test_slow_weights_pull_back_every_kth_step():
    free = _walk(steps=3, k=100)
    slow = _walk(steps=3, k=3, alpha=0.25)
    assert torch.equal(slow[:2], free[:2])
    torch.testing.assert_close(slow[2], 1 + 0.25 * (free[2] - 1))


def test_alpha_of_one_is_no_lookahead():
    torch.testing.assert_close(_walk(k=2, alpha=1.0), _walk(k=1000))


def test_weight_decay_acts_on_the_weights_before_the_step():
    start = torch.full((2,), 3.0, dtype=torch.float64)
    zero = torch.zeros_like
    path = _walk(2, 0.1, start, zero, weight_decay=0.5)
    torch.testing.assert_close(path, torch.tensor([[2.85] * 2, [2.7075] * 2], dtype=torch.float64))


def test_which_gradients_are_centred():
    uniform = torch.ones_like
    for shape, moved in (
        ((4, 3, 3, 3), ()),
        ((5, 7), ("convolutions",)),
        ((6,), ("convolutions", "all")),
    ):
        start = torch.zeros(shape, dtype=torch.float64)
        for centralise in ("all", "convolutions", "none"):
            path = _walk(1, 0.1, start, uniform, centralise=centralise)
            assert bool(path.any()) == (centralise == "none" or centralise in moved)


@pytest.mark.parametrize(("threshold", "first"), [(5.0, 6), (4.0, 5)])
def test_first_adaptive_step(threshold, first):
    adaptive = [rectified(step, (0.95, 0.999), threshold)[1] for step in range(1, 12)]
    assert adaptive.index(True) + 1 == first and all(adaptive[first - 1 :])


def test_rectification_is_that_of_torch():
    rng = torch.Generator().manual_seed(1)
    gradients = torch.randn(30, 5, generator=rng, dtype=torch.float64)
    first, second = (torch.zeros(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ours = Ranger([first], 0.01, k=1000, betas=(0.9, 0.99), eps=1e-12)
    torchs = torch.optim.RAdam([second], 0.01, betas=(0.9, 0.99), eps=1e-12)
    for gradient in gradients:
        first.grad = second.grad = gradient
        ours.step()
        torchs.step()
        torch.testing.assert_close(first, second, atol=1e-9, rtol=1e-7)


def test_a_saved_state_goes_on_where_it_was():
    variable = torch.ones(4, 3, requires_grad=True)
    optimizer = Ranger([variable], 0.1)
    gradients = torch.randn(9, 4, 3)
    for step, gradient in enumerate(gradients):
        if step == 4:
            other = variable.detach().clone().requires_grad_()
            again = Ranger([other], 0.1)
            again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        if step >= 4:
            other.grad = gradient
            again.step()
        variable.grad = gradient
        optimizer.step()
    assert torch.equal(variable, other)


def test_loop_takes_it_and_sets_its_learning_rate():
    x, theirs = (torch.zeros(3, requires_grad=True) for _ in range(2))

    def approach(step: int) -> dict[str, Tensor]:
        return {"total": _distance(x)}

    groups = {"x": Group({"x": x}, constant(0.05), optimizer=ranger())}
    log = list(Context.create().run(Stage("fit", 20, groups, {"main": approach})))
    assert log[0].lr == {"x": 0.05} and log[-1].losses["total"] < log[0].losses["total"]
    optimizer = Ranger([theirs], 0.05)
    for _ in range(20):
        optimizer.zero_grad()
        _distance(theirs)
        optimizer.step()
    assert torch.equal(x, theirs)


def _distance(x: Tensor) -> Tensor:
    """Back-propagate the squared distance to a place and return it."""
    loss = (x - torch.tensor([1.0, -2.0, 0.5])).square().sum()
    loss.backward()
    return loss.detach()
