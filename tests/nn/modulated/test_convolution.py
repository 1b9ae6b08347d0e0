"""Convolutions by products and windows against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inv3d.nn.filters import resample_filter
from inv3d.nn.modulated import doubling, winograd
from inv3d.nn.modulated.convolution import (
    convolve,
    convolve_backward,
    convolve_plain,
    takes_winograd,
)

SIDES = [(5, 4), (8, 8)]


def maps(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    made = torch.randn(count, channels, height, width, generator=rng, dtype=torch.float64)
    return made.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("up", [False, True])
def test_every_way_is_the_plain_one(
    size: tuple[int, int], kernel: int, up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if up and kernel == 1:
        return
    for owner, name in (
        (winograd, "CHANNELS"), (winograd, "SIDE"),
        (doubling, "CHANNELS"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, 1)
    monkeypatch.setattr(doubling, "PIXELS", 9)
    blur = resample_filter().double() if up else None
    x, weight = maps(2, 6, *size), maps(4, 6, kernel, kernel, 1)
    fast = takes_winograd(x, weight, blur)
    assert fast == (kernel == 3 and not up and size == (8, 8))
    inputs = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    expected = convolve_plain(*inputs, blur)
    made = convolve(x, weight, blur, fast)
    torch.testing.assert_close(made, expected.detach())
    gradient = maps(*made.shape, 2)
    expected.backward(gradient)
    found = convolve_backward(gradient, x, weight, blur, fast, (True, True))
    for one, given in zip(found, inputs, strict=True):
        torch.testing.assert_close(one, given.grad)
    assert found[0] is not None and found[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("wanted", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("up", [False, True])
def test_only_what_is_wanted_is_computed(wanted: tuple[bool, bool], up: bool) -> None:
    blur = resample_filter().double() if up else None
    x, weight = maps(1, 3, 4, 4), maps(2, 3, 3, 3, 1)
    gradient = torch.ones_like(convolve(x, weight, blur, False))
    found = convolve_backward(gradient, x, weight, blur, False, wanted)
    assert tuple(one is not None for one in found) == wanted


def test_where_windows_are_taken() -> None:
    x, weight = torch.empty(1, 128, 8, 8), torch.empty(128, 128, 3, 3)
    assert doubling.is_faster(x, weight)
    assert not doubling.is_faster(x[:, :64], weight[:, :64]), "few channels are faster directly"
    assert not doubling.is_faster(x.bfloat16(), weight.bfloat16())
    assert not doubling.is_faster(x.to("meta"), weight)
