"""Muon: what its matrices are, torch's own where it has one, and Adam for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from inv3d.core.fit.muon import Muon, factors_of

A, B, C = 3.4445, -4.7750, 2.0315


def draw(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def orthogonal(matrices: Tensor) -> Tensor:
    return factors_of(matrices @ matrices.mT) @ matrices


def iterated(x: Tensor) -> Tensor:
    """The five iterations on the whole matrix, as Jordan et al. write them."""
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(12, 12), (8, 40)])
def test_factors_are_those_of_the_iterations_on_the_whole(shape: tuple[int, int]) -> None:
    pair = torch.stack([draw(*shape), 100 * draw(*shape, seed=1)])
    torch.testing.assert_close(orthogonal(pair), torch.stack([iterated(one) for one in pair]))


def test_singular_values_are_near_one_and_vectors_stay() -> None:
    left, _ = torch.linalg.qr(draw(10, 10))
    right, _ = torch.linalg.qr(draw(90, 10, seed=1))
    before = torch.logspace(0, -2, 10, dtype=torch.float64)
    after = left.T @ orthogonal((left * before @ right.T)[None])[0] @ right
    values = after.diag()
    assert 0.6 < float(values.min()) and float(values.max()) < 1.3
    assert float((after - values.diag()).abs().max()) < 1e-9


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e15])
def test_the_length_of_a_gradient_does_not_matter(size: float) -> None:
    x = draw(1, 9, 20)
    torch.testing.assert_close(orthogonal(size * x), orthogonal(x), rtol=1e-4, atol=1e-6)
    assert not orthogonal(0 * x).any()


def test_single_precision_is_as_good() -> None:
    x = draw(1, 16, 200) * torch.logspace(0, -3, 16, dtype=torch.float64)[:, None]
    torch.testing.assert_close(orthogonal(x.float()).double(), orthogonal(x), rtol=0, atol=1e-3)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has had Muon since 2.9")
@pytest.mark.parametrize("shape", [(24, 32), (32, 24)])
def test_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    """Which computes the iterations in bfloat16, so that they agree to its digits."""
    start = draw(*shape).float()
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    own = Muon([ours], lr=0.1, momentum=0.9, rms=0.2)
    other = torch.optim.Muon(
        [theirs], lr=0.1, momentum=0.9, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        ours.grad = draw(*shape, seed=step + 1).float()
        theirs.grad = ours.grad.clone()
        own.step()
        other.step()
    moved, expected = (ours - start).detach(), (theirs - start).detach()
    assert float((moved - expected).norm() / expected.norm()) < 0.02


def test_kernels_are_matrices_of_their_outputs() -> None:
    kernel, matrix = (torch.nn.Parameter(torch.zeros(16, *s)) for s in ((10, 3, 3), (90,)))
    kernel.grad = draw(16, 10, 3, 3).float()
    matrix.grad = kernel.grad.flatten(1)
    Muon([kernel], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)
    # root mean square, in learning rates
    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.03, rel=0.15)


@pytest.mark.parametrize("shape", [(1,), (30,), (3, 40), (40, 1, 1, 3), (0, 10), (10, 0)])
def test_all_else_is_moved_by_adam(shape: tuple[int, ...]) -> None:
    """Biases, layers of three outputs."""
    ours, theirs = (torch.nn.Parameter(draw(*shape)) for _ in range(2))
    own, other = Muon([ours], lr=0.1), torch.optim.Adam([theirs], lr=0.1)
    for step in range(4):
        ours.grad = draw(*shape, seed=step)
        theirs.grad = ours.grad.clone()
        own.step()
        other.step()
    torch.testing.assert_close(ours, theirs)


def test_layers_without_places_can_be_left_to_adam() -> None:
    layer, kernel, alone = (
        torch.nn.Parameter(draw(9, 20).unflatten(1, s)) for s in ((20,), (10, 2), (20,))
    )
    for parameter in (layer, kernel, alone):
        parameter.grad = draw(9, 20, seed=1).view_as(parameter)
    Muon([layer, kernel], lr=0.1, axes=3).step()
    torch.optim.Adam([alone], lr=0.1).step()
    torch.testing.assert_close(layer, alone)
    assert float((kernel.flatten(1) - alone).detach().abs().max()) > 0.01


def test_what_has_no_gradient_stays() -> None:
    still, moved = torch.nn.Parameter(draw(9, 9)), torch.nn.Parameter(draw(9, 9))
    before = still.detach().clone()
    moved.grad = draw(9, 9, seed=2)
    optimizer = Muon([still, moved], lr=0.1)
    optimizer.step()
    assert torch.equal(still, before) and still not in optimizer.state


def test_a_state_that_is_put_back_goes_on_the_same() -> None:
    first = [torch.nn.Parameter(draw(12, 3, 3)), torch.nn.Parameter(draw(12, 20))]
    one = Muon(first, lr=0.1)

    def take(optimizer: Muon, parameters: list[torch.nn.Parameter], seed: int) -> None:
        for parameter in parameters:
            parameter.grad = draw(*parameter.shape, seed=seed)
        optimizer.step()

    take(one, first, 1)
    second = copy.deepcopy(first)
    other = Muon(second, lr=0.1)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    take(one, first, 2)
    take(other, second, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_matrices_of_several_types_move_side_by_side() -> None:
    double = torch.nn.Parameter(draw(9, 20))
    single = torch.nn.Parameter(double.detach().float())
    double.grad, single.grad = draw(9, 20, seed=1), draw(9, 20, seed=1).float()
    Muon([double, single], lr=0.1).step()
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_sixteen_bits_hold_no_iterations_but_what_comes_of_them(
    kind: torch.dtype, size: float
) -> None:
    """Gradients of few directions, whose products would round to indefinite ones."""
    gradient = size * draw(64, 2) @ draw(2, 576, seed=1)
    whole, half = (torch.nn.Parameter(torch.zeros(64, 576, dtype=k)) for k in (torch.float, kind))
    for parameter in (whole, half):
        parameter.grad = gradient.to(parameter)
        Muon([parameter], lr=1.0).step()
    assert float(half.detach().float().square().mean().sqrt()) < 0.3
    difference = (half.float() - whole).detach()
    # rounded gradients have more directions, however weak
    assert float(difference.norm() / whole.detach().norm()) < 2


def test_weights_in_another_order_in_memory_move_the_same() -> None:
    plain = torch.nn.Parameter(draw(16, 10, 3, 3))
    other = torch.nn.Parameter(plain.detach().to(memory_format=torch.channels_last))
    plain.grad = draw(16, 10, 3, 3, seed=1)
    other.grad = plain.grad.to(memory_format=torch.channels_last)
    for parameter in (plain, other):
        Muon([parameter], lr=0.1).step()
    torch.testing.assert_close(other, plain)
