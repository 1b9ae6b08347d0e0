"""Encoder networks for tests: small ones, and full-size ones without numbers or by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from inv3d.nn.encoders.options import EncoderOptions, TrunkOptions
from tests.golden_rules import rule_state

N = TypeVar("N", bound=nn.Module)
TRUNK = TrunkOptions(width=8, units=(1, 2, 2, 2))
SMALL = EncoderOptions(trunk=TRUNK, size=32, style_channels=12)


def empty(make: Callable[..., N], *args: Any) -> N:
    """Build a network without numbers."""
    with torch.device("meta"):
        return make(*args)


def listed(make: Callable[..., nn.Module], *args: Any) -> list[tuple[str, list[int]]]:
    """Names and shapes of a network's tensors, in their order."""
    return [(n, list(t.shape)) for n, t in empty(make, *args).state_dict().items()]


def by_rule(make: Callable[..., N], facts: Mapping[str, Any], *args: Any, prefix: str = "") -> N:
    """Build a network whose weights are those of a golden case, in eval mode.

    Args:
        make: builds it.
        facts: of the case.
        args: of `make`.
        prefix: that the reference's names have before those of the network.
    """
    network = empty(make, *args)
    keywords = facts["kwargs"]
    gain = keywords.get("gain")
    state = rule_state(network, salt=keywords["salt"], gain=gain)
    network.load_state_dict(state, assign=True)  # as large as they are, no second copy
    for check in facts["weight_checks"]:
        name, tensor = list(network.state_dict().items())[check["k"]]
        assert name == check["name"].removeprefix(prefix)
        first = tensor.flatten()[: len(check["first"])]
        torch.testing.assert_close(first, torch.tensor(check["first"]), atol=1e-6, rtol=0)
    return network.eval().requires_grad_(False)
