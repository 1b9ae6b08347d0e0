"""EG3D's decoder: what its activations make of the colours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inv3d.nn.planes.decoder import Activation, Decoder


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.2 * x, x) * math.sqrt(2) - 0.5


def widened(x: Tensor) -> Tensor:
    return (1 + 2 * 0.001) / (1 + torch.exp(-x)) - 0.001


@pytest.mark.parametrize(
    ("activation", "formula"), [("none", lambda x: x), ("lrelu", lrelu), ("sigmoid", widened)]
)
def test_activations_are_the_official_formulas(activation: Activation, formula: object) -> None:
    assert callable(formula)
    torch.manual_seed(3)
    decoder = Decoder(6, 4, hidden=8, activation=activation)
    features = torch.randn(50, 6) * 3
    raw = decoder.net(features)
    density, colours = decoder(features)
    assert colours is not None and (raw[:, 1:] < 0).any() and (raw[:, 1:] > 0).any()
    assert torch.allclose(colours, formula(raw[:, 1:]), atol=1e-6)
    assert torch.equal(density, raw[:, 0])
    assert torch.allclose(decoder(features, colour=False)[0], density, atol=1e-6)
