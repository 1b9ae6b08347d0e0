"""The modulated layer as one node against its definition."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.filters import resample_filter
from inv3d.nn.modulated import epilogue, winograd
from inv3d.nn.modulated.layer import modulated_layer, modulated_layer_plain

DOUBLE = torch.float64
CLAMP = 0.9


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def inputs(styles: int, views: int, size: int, kernel: int, up: bool, noise: int) -> list[Any]:
    """x, weight, styles, bias and noise (0: none, 1: a map for all, 2: one an image)."""
    after, images = 2 * size if up else size, styles * views
    maps = [None, normal(1, 1, after, after, seed=4), normal(images, 1, after, after, seed=4)]
    return [
        normal(images, 5, size, size),
        normal(7, 5, kernel, kernel, seed=1),
        normal(styles, 5, seed=2),
        normal(7, seed=3),
        maps[noise],
    ]


def gradients(function: Any, given: list[Any], **options: Any) -> list[Tensor]:
    """The result and the gradients to everything that wants one."""
    wanting = [t for t in given if t is not None and t.requires_grad]
    made = function(*given, **options)
    weights = normal(*made.shape, seed=9).to(made)
    return [made.detach(), *torch.autograd.grad((made * weights).sum(), wanting)]


def same(given: list[Any], **options: Any) -> None:
    found = gradients(modulated_layer, given, **options)
    expected = gradients(modulated_layer_plain, given, **options)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def learn(given: list[Any], which: str = "xwsbn") -> list[Any]:
    """Let some of x, weight, styles, bias and noise want gradients."""
    for name, tensor in zip("xwsbn", given, strict=True):
        if tensor is not None:
            tensor.requires_grad_(name in which)
    return given


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("size", [2, 12])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_it_is_the_plain_layer(
    shape: tuple[int, int], size: int, up: bool, demodulate: bool
) -> None:
    kernel = resample_filter().double() if up else None
    for noise, activate, clamp in product((0, 1, 2), (False, True), (None, CLAMP)):
        given = learn(inputs(*shape, size, 3, up, noise))
        options = {"demodulate": demodulate, "activate": activate, "clamp": clamp}
        same(given, up=kernel, **options)


@pytest.mark.parametrize("which", ["s", "x", "w", "xs", "ws", "b", "n", "xwb"])
@pytest.mark.parametrize("styles", [1, 2])
def test_what_wants_no_gradient_changes_nothing(which: str, styles: int) -> None:
    same(learn(inputs(styles, 2, 6, 3, False, 1), which), clamp=CLAMP)


@pytest.mark.parametrize("styles", [1, 2])
def test_to_image_channels(styles: int) -> None:
    same(learn(inputs(styles, 2, 6, 1, False, 0)), demodulate=False, activate=False)


def test_without_bias() -> None:
    given = learn(inputs(2, 2, 6, 3, False, 1))
    given[3] = None
    same(given)


def test_a_filter_without_symmetry() -> None:
    same(learn(inputs(1, 2, 6, 3, True, 0)), up=normal(4, 4, seed=7))


@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize("styles", [1, 2])
def test_styles_of_zero_have_gradients(styles: int, demodulate: bool) -> None:
    given = inputs(styles, 2, 6, 3, False, 1)
    given[2][:, 1:3] = 0
    same(learn(given), demodulate=demodulate)
    given[2].detach().zero_()
    if not demodulate:
        same(given, demodulate=False)


def test_blocks_and_whole_maps_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    given = learn(inputs(2, 2, 6, 3, False, 2))
    whole = gradients(modulated_layer, given, clamp=CLAMP)
    monkeypatch.setattr(epilogue, "BLOCK", 7 * 11)
    for one, other in zip(gradients(modulated_layer, given, clamp=CLAMP), whole, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("styles", [1, 2])
def test_winograd_inside(styles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(winograd, "CHANNELS", 4)
    monkeypatch.setattr(winograd, "SIDE", 4)
    monkeypatch.setattr(winograd, "conv3x3", spied := _spy(winograd.conv3x3, called))
    same(learn(inputs(styles, 2, 12, 3, False, 1)), clamp=CLAMP)
    assert len(called) == 1 and spied
    with winograd.winograd(False):
        same(learn(inputs(styles, 2, 12, 3, False, 1)))
    assert len(called) == 1


def _spy(function: Any, called: list[int]) -> Any:
    def spied(*arguments: Tensor) -> Tensor:
        called.append(1)
        return function(*arguments)

    return spied


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("styles", [1, 2])
def test_single_precision_is_near_double(styles: int, up: bool) -> None:
    given = learn(inputs(styles, 3, 16, 3, up, 1))
    single = learn([None if t is None else t.detach().float() for t in given])
    kernel = resample_filter() if up else None
    exact = None if kernel is None else kernel.double()
    expected = gradients(modulated_layer_plain, given, up=exact, clamp=20.0)
    for one, other in zip(
        gradients(modulated_layer, single, up=kernel, clamp=20.0), expected, strict=True
    ):
        assert (one - other).norm() / other.norm() < 2e-6


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("styles", [1, 2])
def test_autocast_makes_maps_small_and_keeps_gradients_of_parameters(
    styles: int, low: torch.dtype
) -> None:
    given = learn([t.detach().float() for t in inputs(styles, 3, 16, 3, False, 1)])
    expected = gradients(modulated_layer, given, clamp=20.0)
    with torch.autocast("cpu", low):
        found = gradients(modulated_layer, given, clamp=20.0)
    assert found[0].dtype == low
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == torch.float32
        # activations that change sides of zero turn gradients by more than rounding does
        assert F.cosine_similarity(one.flatten(), other.flatten(), 0) > 0.99


def test_maps_are_channels_last_and_only_input_and_output_are_kept() -> None:
    given = [t.detach().float() for t in inputs(1, 3, 12, 3, False, 1)]
    learn(given, "xs")
    given[0] = given[0].detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        made = modulated_layer(*given)
    assert made.is_contiguous(memory_format=torch.channels_last)
    large = {t.data_ptr() for t in kept if t.numel() >= given[0].numel()}
    assert large == {given[0].data_ptr(), made.data_ptr()}


def test_a_second_derivative_is_refused() -> None:
    given = learn(inputs(1, 1, 6, 3, False, 0))
    (first,) = torch.autograd.grad(
        modulated_layer(*given).square().sum(), given[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_the_plain_layer_doubles_as_upsampling_and_filtering_do() -> None:
    x, weight, style = normal(1, 5, 6, 6), normal(7, 5, 3, 3), normal(1, 5)
    kernel = resample_filter().double()
    found = modulated_layer_plain(x, weight, style, up=kernel, demodulate=False, activate=False)
    own = weight * style[0, :, None, None]
    sparse = torch.zeros(1, 5, 12, 12, dtype=DOUBLE)
    sparse[..., ::2, ::2] = x
    wide = F.conv2d(F.pad(sparse, (2, 1, 2, 1)), own.flip(2, 3))
    padded = F.pad(wide, (1, 1, 1, 1))
    taps = (kernel * 4).expand(7, 1, 4, 4)
    torch.testing.assert_close(found, F.conv2d(padded, taps, groups=7))


def test_shared_style_has_the_gradients_of_repeated_ones() -> None:
    x, weight = normal(3, 4, 6, 6), normal(5, 4, 3, 3)
    shared = normal(1, 4, seed=3).requires_grad_()
    repeated = shared.detach().repeat(3, 1).requires_grad_()
    for styles in (shared, repeated):
        modulated_layer(x, weight, styles).square().sum().backward()
    assert shared.grad is not None and repeated.grad is not None
    torch.testing.assert_close(shared.grad[0], repeated.grad.sum(0))
