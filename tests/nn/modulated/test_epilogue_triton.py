"""Triton's programs for what follows a convolution, beside plain torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from inv3d.nn import filters
from inv3d.nn.modulated import epilogue as plain
from inv3d.nn.modulated import epilogue_triton as programs
from inv3d.nn.modulated import layer as modulated
from inv3d.nn.modulated.epilogue import Epilogue

CHANNELS = 70  # a tile and a bit
Given = tuple[Tensor | None, ...]


def made(dtype: torch.dtype, styles: int, noises: int) -> tuple[Tensor, Tensor, Given]:
    """Maps of four images, a gradient, and scale, bias and noise; none of a kind for 0."""
    rng = torch.Generator().manual_seed(4)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    maps = [drawn(4, CHANNELS, 5, 7).to(dtype).contiguous(memory_format=torch.channels_last)
            for _ in range(2)]  # fmt: skip
    real = torch.promote_types(dtype, torch.float32)
    scale = drawn(styles, CHANNELS).to(real) if styles else None
    noise = drawn(noises, 1, 5, 7).to(real) if noises else None
    bias = drawn(CHANNELS).to(real) if noises != 1 else None
    return maps[0], maps[1], (scale, bias, noise)


def passes(
    module: ModuleType, how: Epilogue, dtype: torch.dtype, styles: int, noises: int, device: str
) -> list[Tensor | None]:
    """Maps, all gradients, and those of a scale alone."""
    y, gradient, rest = made(dtype, styles, noises)
    y, gradient = y.to(device), gradient.to(device)
    given = [None if tensor is None else tensor.to(device) for tensor in rest]
    module.apply_(how, y, *given)
    wanted = tuple(tensor is not None for tensor in given)
    found = module.backward(how, gradient, y, *given, wanted)
    results = [y, found.y, found.scale, found.bias, found.noise]
    if given[0] is not None:
        results += [module.scale_backward_(gradient, y, given[0], True), gradient]
    return [None if value is None else value.cpu() for value in results]


def by_programs(*given: Any) -> list[Tensor | None]:
    """In the interpreter."""
    return passes(programs, *given, "cpu")


def compare(found: list[Tensor | None], expected: list[Tensor | None], tolerance: float) -> None:
    assert len(found) == len(expected)
    for value, wanted in zip(found, expected, strict=True):
        assert (value is None) == (wanted is None)
        if value is not None and wanted is not None:
            assert value.shape == wanted.shape
            torch.testing.assert_close(
                value.double(), wanted.double(), rtol=0, atol=tolerance * float(wanted.abs().max())
            )


CASES = [
    (Epilogue(True, 1.2), 2, 1),
    (Epilogue(True, None), 1, 4),
    (Epilogue(False, 0.9), 4, 0),
    (Epilogue(True, 0.8), 0, 0),
    (Epilogue(False, None), 2, 0),
]


@pytest.mark.parametrize(("how", "styles", "noises"), CASES)
def test_programs_find_what_plain_torch_finds(
    how: Epilogue, styles: int, noises: int, interpreter: Callable[..., Any]
) -> None:
    expected = passes(plain, how, torch.float64, styles, noises, "cpu")
    found = interpreter(by_programs, how, torch.float32, styles, noises)
    compare(found, expected, 1e-5)


def filtered(by: bool, padding: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
    """Maps through a filter that is alike in no direction."""
    rng = torch.Generator().manual_seed(2)
    kernel = torch.randn(4, 4, generator=rng)
    maps = torch.randn(2, CHANNELS, 19, 21, generator=rng, dtype=torch.float64).to(dtype)
    maps, kernel = maps.to(device), kernel.to(device)
    home = programs if by else filters
    return (home.blur if padding == 1 else home.blur_backward)(maps, kernel).cpu()


@pytest.mark.parametrize("padding", [1, 2])
def test_programs_filter_as_plain_torch_does(
    padding: int, interpreter: Callable[..., Tensor]
) -> None:
    """Forwards and backwards, with rows and columns over the tiles."""
    found = interpreter(filtered, True, padding, torch.float32)
    assert found.is_contiguous(memory_format=torch.channels_last)
    compare([found], [filtered(False, padding, torch.float64)], 1e-6)


def lets_through(value: float) -> Tensor:
    """What becomes of a number in a map of ones."""
    y = torch.ones(1, CHANNELS, 2, 2).contiguous(memory_format=torch.channels_last)
    y[0, 0, 0, 0] = value
    programs.apply_(Epilogue(True, 2.0), y, None, None, None)
    return y


def test_what_isnt_a_number_stays_visible(interpreter: Callable[..., Tensor]) -> None:
    assert interpreter(lets_through, float("nan"))[0, 0, 0, 0].isnan()
    assert interpreter(lets_through, float("inf"))[0, 0, 0, 0] == 2


def test_programs_pass_their_trial(interpreter: Callable[..., str | None]) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert interpreter(programs.fault_of, torch.device("cpu"), dtype) is None


def layer(by: bool, up: bool = False) -> list[Tensor]:
    """A modulated layer and its gradients, with or without programs."""
    rng = torch.Generator().manual_seed(1)
    size = 12 if up else 6
    shapes = ((2, 5, 6, 6), (7, 5, 3, 3), (2, 5), (7,), (1, 1, size, size))
    given = [torch.randn(*shape, generator=rng).requires_grad_() for shape in shapes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modulated, "usable", lambda maps, dtype: by)
        kernel = filters.resample_filter() if up else None
        seen = modulated.modulated_layer(*given, clamp=1.5, up=kernel)
    worth = torch.randn(seen.shape, generator=rng)
    return [seen.detach(), *torch.autograd.grad(seen, given, worth)]


@pytest.mark.parametrize("up", [False, True])
def test_a_layer_is_the_same_by_programs(
    up: bool, interpreter: Callable[..., list[Tensor]]
) -> None:
    compare(list(interpreter(layer, True, up)), list(layer(False, up)), 1e-5)


def test_cpus_go_by_plain_torch() -> None:
    assert not programs.usable(torch.ones(1), torch.float32)


@pytest.mark.cuda
@pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("triton") is None, reason="no GPU, or no Triton"
)
class TestOnCuda:
    """For whoever has a GPU: `pytest -m cuda tests/nn`."""

    @pytest.mark.parametrize(
        ("case", "dtype"), list(product(CASES, [torch.float32, torch.bfloat16, torch.float16]))
    )
    def test_programs_find_what_plain_torch_finds(
        self, case: tuple[Epilogue, int, int], dtype: torch.dtype
    ) -> None:
        how, styles, noises = case
        found = passes(programs, how, dtype, styles, noises, "cuda")
        expected = passes(plain, how, torch.float64, styles, noises, "cpu")
        if dtype == torch.float32:
            compare(found, expected, 1e-4)
        else:  # what is near a kink turns with a rounding: the map alone
            compare(found[:1], expected[:1], 2e-2)

    @pytest.mark.parametrize("padding", [1, 2])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_programs_filter_as_plain_torch_does(self, padding: int, dtype: torch.dtype) -> None:
        found = filtered(True, padding, dtype, "cuda")
        tolerance = 1e-5 if dtype == torch.float32 else 1e-2
        compare([found], [filtered(False, padding, torch.float64)], tolerance)

    def test_the_trial_lets_them_pass(self) -> None:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            assert programs.fault_of(torch.device("cuda"), dtype) is None
