"""Known factors of z at the end of w."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.nn.known_factors import FACTOR_LIMIT, KnownFactors
from inv3d.nn.stylegan2 import MappingNetwork


def filled(dtype: torch.dtype = torch.float32) -> KnownFactors:
    """Two factors of three numbers, of four ramps."""
    layer = KnownFactors(3, 4, 2).to(dtype)
    layer.slopes.copy_(torch.tensor([[1, 0, 0], [0, 2, 0], [0, 0, -1], [1, 1, 0]]))
    layer.offsets.copy_(torch.tensor([0.5, 0, 1, 0]))
    layer.sums.copy_(torch.tensor([[2, 0, 0, 1], [0, -9, 4, 0]]))
    layer.shift.copy_(torch.tensor([-1, 0.5]))
    return layer


def by_hand(z: Tensor) -> Tensor:
    """What `filled` makes of z, number by number."""
    rows = []
    for a, b, c in z.tolist():
        ramp = [min(1.0, max(0.0, v)) for v in (a + 0.5, 2 * b, 1 - c, a + b)]
        sums = (2 * ramp[0] + ramp[3] - 1, -9 * ramp[1] + 4 * ramp[2] + 0.5)
        rows.append([min(FACTOR_LIMIT, max(-FACTOR_LIMIT, v)) for v in sums])
    return torch.tensor(rows, dtype=z.dtype)


def test_factors_are_sums_of_ramps_within_limits() -> None:
    z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    made = filled(torch.double)(z)
    torch.testing.assert_close(made, by_hand(z))
    assert (made.abs() == FACTOR_LIMIT).any()


def test_factors_have_gradients_to_z_and_no_parameters() -> None:
    layer = filled(torch.double)
    z = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(layer, z)
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"slopes", "offsets", "sums", "shift", "gain"}


def mapping(factors: int = 2) -> MappingNetwork:
    torch.manual_seed(0)
    network = MappingNetwork(3, 0, 8, 2, lr_multiplier=1.0, factors=factors, factor_ramps=4)
    if network.known is not None:
        network.known.load_state_dict(filled().state_dict())
        network.known.gain.copy_(torch.tensor([10.0, 0.5]))
    return network


def test_w_ends_with_the_factors_times_their_gain() -> None:
    network, z = mapping(), torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    w = network(z)
    assert w.shape == (20, 8)
    torch.testing.assert_close(w[:, 6:], by_hand(z) * torch.tensor([10.0, 0.5]))


def test_the_learned_part_sees_the_factors_before_their_gain() -> None:
    network, z = mapping(), torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    assert network.fc0.weight.shape == (8, 5)
    before = network(z)
    assert network.known is not None
    network.known.gain.mul_(3)
    torch.testing.assert_close(network(z)[:, :6], before[:, :6])
    network.known.shift.add_(0.1)
    assert not torch.equal(network(z)[:, :6], before[:, :6])


def test_a_mapping_without_factors_is_as_ever() -> None:
    network = mapping(factors=0)
    assert set(network.state_dict()) == {
        "fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias", "w_avg"
    }  # fmt: skip
    assert network.fc0.weight.shape == (8, 3)


@pytest.mark.parametrize("part", ["learned", "known"])
def test_w_has_gradients_to_z_through_both_parts(part: str) -> None:
    network = mapping()
    z = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    w = network(z)
    (w[:, :6] if part == "learned" else w[:, 6:]).sum().backward()
    assert z.grad is not None and (z.grad != 0).any()
