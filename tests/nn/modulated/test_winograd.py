"""Convolutions by Winograd's algorithm against direct ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.modulated import winograd
from inv3d.nn.modulated.winograd import BAND, conv3x3, input_gradient, is_faster, weight_gradient
from inv3d.plugins.generators.eg3d import EG3D
from tests.tiny_generators import latents, tiny, views

# of results in single precision, relative root mean square; measured 1.4e-6 to 3.6e-6
TOLERANCE = 6e-6
SHAPES = [(1, 3, 5, 4, 4), (2, 5, 3, 8, 12), (2, 6, 7, 20, 8), (1, 130, 9, 72, 64)]


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def three(
    n: int, i: int, o: int, h: int, w: int, dtype: torch.dtype
) -> list[tuple[Tensor, Tensor]]:
    """Values and both gradients, as found and as expected."""
    x = normal(n, i, h, w).requires_grad_()
    weight = normal(o, i, 3, 3, seed=1).requires_grad_()
    gradient = normal(n, o, h, w, seed=2)
    y = F.conv2d(x, weight, padding=1)
    dx, dw = torch.autograd.grad(y, (x, weight), gradient)
    x, weight, gradient = (t.detach().to(dtype) for t in (x, weight, gradient))
    return [
        (conv3x3(x, weight), y.detach()),
        (input_gradient(gradient, weight), dx),
        (weight_gradient(gradient, x), dw),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_direct_convolution(shape: tuple[int, int, int, int, int]) -> None:
    for found, expected in three(*shape, torch.float64):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_shapes_span_several_bands() -> None:
    _, channels, _, height, width = SHAPES[-1]
    assert channels * height * width // 16 > BAND


@pytest.mark.parametrize("shape", [(1, 128, 128, 32, 32), (1, 256, 32, 8, 16)])
def test_single_precision_is_within_tolerance(shape: tuple[int, int, int, int, int]) -> None:
    for found, expected in three(*shape, torch.float32):
        assert found.dtype == torch.float32
        assert (found - expected).norm() / expected.norm() < TOLERANCE


def test_results_are_channels_last_and_gradients_to_weights_are_not() -> None:
    (made, _), (dx, _), (dw, _) = three(2, 6, 8, 8, 8, torch.float32)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert dx.is_contiguous(memory_format=torch.channels_last)
    assert dw.is_contiguous()


def test_where_it_is_taken() -> None:
    x, weight = torch.empty(1, 256, 64, 64), torch.empty(256, 256, 3, 3)
    assert is_faster(x, weight)
    assert is_faster(x[:, :128], weight[:, :128])
    assert not is_faster(x[:, :64], weight[:, :64])
    assert is_faster(x.double(), weight.double())
    assert not is_faster(x.bfloat16(), weight.bfloat16())
    assert not is_faster(x.to("meta"), weight.to("meta"))
    assert not is_faster(x[..., :-2], weight), "sides must be multiples of 4"
    assert not is_faster(x[..., :16, :16], weight), "small maps are faster directly"
    assert not is_faster(x, weight[:64]), "few channels are faster directly"
    assert not is_faster(x, weight[..., :1, :1])
    with winograd.winograd(False):
        assert not is_faster(x, weight)
        with winograd.winograd(True):
            assert is_faster(x, weight)
        assert not is_faster(x, weight)
    assert is_faster(x, weight)


def test_a_generator_takes_it_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(winograd, "CHANNELS", 4)
    monkeypatch.setattr(winograd, "SIDE", 4)
    monkeypatch.setattr(winograd, "conv3x3", lambda *given: taken.append(1) or conv3x3(*given))
    images, counts = [], []
    for options in ({}, {"winograd": False}):
        taken.clear()
        generator = tiny(EG3D, **options)
        ws = latents(1, generator)
        scene = generator.synthesize(ws)
        planes = len(taken)
        images.append(generator.render(scene, views(1, generator)).require("image"))
        counts.append((planes, len(taken) - planes))
    assert min(counts[0]) > 0 and counts[1] == (0, 0)
    assert not torch.equal(*images)
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-4)
