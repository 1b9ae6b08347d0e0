"""Winograd's convolutions by Triton programs, beside direct ones in double precision."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.nn import precision
from inv3d.nn.modulated import convolution, winograd_triton
from inv3d.nn.modulated.convolution import convolve, convolve_backward
from inv3d.nn.trial import programs
from tests.nn.modulated.test_winograd import TOLERANCE, normal

gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("triton") is None, reason="no GPU, or no Triton"
)
# one tile; several images with tiles and channels over those of a program
SHAPES = [(1, 3, 5, 4, 4), (3, 70, 34, 8, 12)]


def three(shape: tuple[int, int, int, int, int], band: int, device: str) -> list[Tensor]:
    """Values and both gradients."""
    n, i, o, h, w = shape
    x, weight, gradient = normal(n, i, h, w), normal(o, i, 3, 3, seed=1), normal(n, o, h, w, seed=2)
    x, weight, gradient = (t.float().to(device) for t in (x, weight, gradient))
    before, winograd_triton.BAND = winograd_triton.BAND, band
    try:
        made = [
            winograd_triton.conv3x3(x, weight),
            winograd_triton.input_gradient(gradient, weight),
            winograd_triton.weight_gradient(gradient, x),
        ]
    finally:
        winograd_triton.BAND = before
    return [tensor.cpu() for tensor in made]


def expected(shape: tuple[int, int, int, int, int]) -> list[Tensor]:
    n, i, o, h, w = shape
    x, weight, gradient = normal(n, i, h, w), normal(o, i, 3, 3, seed=1), normal(n, o, h, w, seed=2)
    y = convolve(x, weight, None, False)
    dx, dw = convolve_backward(gradient, x, weight, None, False, (True, True))
    assert dx is not None and dw is not None
    return [y, dx, dw]


def check(found: list[Tensor], shape: tuple[int, int, int, int, int]) -> None:
    for value, right in zip(found, expected(shape), strict=True):
        assert value.dtype == torch.float32
        assert (value - right).norm() / right.norm() < TOLERANCE
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in found[:2])
    assert found[2].is_contiguous()


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_direct_convolution(
    shape: tuple[int, int, int, int, int], interpreter: Callable[..., Any]
) -> None:
    check(interpreter(three, shape, 1 << 25, "cpu"), shape)


def test_tiles_are_taken_in_bands(interpreter: Callable[..., Any]) -> None:
    """Five at a time of 18, across rows and images."""
    check(interpreter(three, SHAPES[1], 5 * 36 * 70, "cpu"), SHAPES[1])


def test_the_trial_passes(interpreter: Callable[..., Any]) -> None:
    assert interpreter(winograd_triton.fault_of, torch.device("cpu")) is None


def test_the_trial_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    plainly = {
        "conv3x3": lambda x, weight: convolve(x, weight, None, False),
        "input_gradient": lambda g, weight: convolve_backward(
            g, g.new_zeros(len(g), weight.shape[1], *g.shape[2:]), weight, None, False,
            (True, False),
        )[0],
        "weight_gradient": lambda g, x: 1.01 * convolve_backward(
            g, x, x.new_zeros(g.shape[1], x.shape[1], 3, 3), None, False, (False, True)
        )[1],
    }  # fmt: skip
    for name, function in plainly.items():
        monkeypatch.setattr(winograd_triton, name, function)
    said = winograd_triton.fault_of(torch.device("cpu"))
    assert said is not None and said.startswith("the dw is off by")


def test_where_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """In exact single precision, where programs may run."""
    x, weight = torch.empty(1, 256, 64, 64), torch.empty(256, 256, 3, 3)
    assert not winograd_triton.is_faster(x, weight), "a CPU has no programs"
    monkeypatch.setattr(winograd_triton, "may_run", lambda maps: True)
    monkeypatch.setattr(winograd_triton, "passed", lambda *trial: True)
    with precision.rounding("tf32"):
        assert not winograd_triton.is_faster(x, weight)
    with precision.rounding("fp32"):
        assert winograd_triton.is_faster(x, weight)
        assert not winograd_triton.is_faster(x.double(), weight.double())
        assert not winograd_triton.is_faster(x.half(), weight.half())
        assert not winograd_triton.is_faster(x[..., :16, :16], weight), "it's little to compute"
        assert winograd_triton.is_faster(x[..., :16, :16].expand(16, -1, -1, -1), weight)


@pytest.mark.cuda
@gpu
@pytest.mark.parametrize("shape", [*SHAPES, (2, 128, 192, 64, 96)])
def test_on_a_gpu(shape: tuple[int, int, int, int, int]) -> None:
    check(three(shape, 1 << 22, "cuda"), shape)


@pytest.mark.cuda
@gpu
def test_layers_take_it_on_a_gpu() -> None:
    x, weight = torch.randn(1, 128, 128, 128).cuda(), torch.randn(128, 128, 3, 3).cuda()
    with precision.rounding("fp32"):
        assert convolution.takes_winograd(x, weight, None)
        with programs(False):
            assert not convolution.takes_winograd(x, weight, None)
