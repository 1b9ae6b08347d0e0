"""Planes and decoder as one node: what it must equal, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inv3d.nn import products
from inv3d.nn.layers import EqualLinear
from inv3d.nn.planes import decode as plane_decoder
from inv3d.nn.planes import gather as plane_gather
from inv3d.nn.planes.decode import DEAD, decode_planes, decode_planes_plain
from inv3d.nn.planes.decoder import Activation, Decoder
from inv3d.nn.planes.gather import TexelTables
from inv3d.nn.planes.triplane import AXES, PlaneAxes

BOX = 1.3
CHANNELS, HIDDEN, COLOURS = 4, 8, 5
ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "lrelu")
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
Decode = Callable[..., tuple[Tensor, Tensor | None]]


def make(
    dtype: torch.dtype = torch.float64,
    slices: tuple[int, ...] = (),
    activation: Activation = "sigmoid",
    points: int = 91,
) -> tuple[Decoder, Tensor, Tensor]:
    """A decoder, planes of two scenes, and points of which some are outside the box."""
    torch.manual_seed(4)
    decoder = Decoder(CHANNELS, COLOURS, HIDDEN, 0.5, activation).to(dtype)
    planes = torch.randn(2, 3, CHANNELS, *slices, 8, 8, dtype=dtype) * 3
    where = (torch.rand(2, points, 3, dtype=dtype) - 0.5) * 1.4 * BOX
    where[:, 0] = 40.0
    return decoder, planes, where


def gradients(
    decode: Decode,
    decoder: Decoder,
    planes: Tensor,
    points: Tensor,
    colour: bool = True,
    axes: PlaneAxes = "panohead",
    weights: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Everything that one pass through makes, by name, the node's way or the plain one."""
    planes = planes.detach().clone().requires_grad_()
    decoder.zero_grad()
    raw, colours = decode(decoder, planes, points, axes, BOX, colour)
    torch.manual_seed(9)
    first, second = weights or (torch.randn_like(raw), torch.randn(*raw.shape, COLOURS).to(raw))
    total = (raw * first).sum()
    made = {"raw": raw}
    if colours is not None:
        made["colours"] = colours
        total = total + (colours * second).sum()
    total.backward()
    made |= {n: p.grad for n, p in decoder.named_parameters() if p.grad is not None}
    return {n: v.detach().clone() for n, v in (made | {"planes": planes.grad}).items()}


def same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(float(value.abs().max()), 1.0)
        torch.testing.assert_close(found[name], value, atol=tolerance * scale, rtol=0, msg=name)


def is_node(decoder: nn.Module, planes: Tensor, points: Tensor) -> bool:
    raw, _ = decode_planes(decoder, planes.requires_grad_(), points, "eg3d", BOX, True)
    return "DecodePlanes" in raw.grad_fn.name()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("slices", [(), (1,), (2,), (3,)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("colour", [True, False])
def test_the_node_equals_the_plain_way(
    dtype: torch.dtype, slices: tuple[int, ...], activation: Activation, colour: bool
) -> None:
    given = make(dtype, slices, activation)
    assert is_node(*given)
    found = gradients(decode_planes, *given, colour)
    expected = gradients(decode_planes_plain, *given, colour)
    same(found, expected, TOLERANCE[dtype])
    assert float(expected["planes"].abs().max()) > 0 and len(expected) == 6 + colour


@pytest.mark.parametrize("axes", list(AXES))
def test_it_knows_all_axes(axes: PlaneAxes) -> None:
    given = make(slices=(2,))
    found = gradients(decode_planes, *given, axes=axes)
    same(found, gradients(decode_planes_plain, *given, axes=axes), 1e-12)


@pytest.mark.parametrize("slices", [(), (2,)])
def test_its_pieces_change_nothing(slices: tuple[int, ...], monkeypatch: Any) -> None:
    given = make(slices=slices)
    whole = gradients(decode_planes, *given)
    monkeypatch.setattr(plane_decoder, "CHUNK", 7)
    same(gradients(decode_planes, *given), whole, 1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_come_out_every_time(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        given = make(torch.float32, (2,), points=40000)
        first, second = (gradients(decode_planes, *given) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_numerical_gradients_agree() -> None:
    decoder, planes, points = make(slices=(2,), points=9)
    points = points[:, 1:]

    owners = [(layer, name) for layer in decoder.net for name in [*layer._parameters]]

    def run(planes: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        for (owner, name), value in zip(owners, layers, strict=True):
            owner._parameters.pop(name, None)
            setattr(owner, name, value)
        return decode_planes(decoder, planes, points, "eg3d", BOX, True)  # type: ignore[return-value]

    layers = [p.detach().clone().requires_grad_() for p in decoder.parameters()]
    assert torch.autograd.gradcheck(run, (planes.requires_grad_(), *layers))


def test_only_what_is_used_needs_a_gradient() -> None:
    """A loss of the density alone and one of the colours alone, of a pass with colours."""
    for used in (0, 1):
        made = []
        for decode in (decode_planes, decode_planes_plain):
            decoder, planes, points = make()
            planes.requires_grad_()
            decode(decoder, planes, points, "eg3d", BOX, True)[used].sum().backward()
            made.append([planes.grad, *(p.grad for p in decoder.parameters())])
        for found, expected in zip(*made, strict=True):
            torch.testing.assert_close(found, expected)


def test_frozen_decoders_get_no_gradient_and_frozen_planes_none() -> None:
    decoder, planes, points = make()
    decoder.requires_grad_(False)
    decode_planes(decoder, planes.requires_grad_(), points, "eg3d", BOX, True)[0].sum().backward()
    assert planes.grad is not None and all(p.grad is None for p in decoder.parameters())
    decoder, planes, points = make()
    decode_planes(decoder, planes, points, "eg3d", BOX, True)[0].sum().backward()
    assert planes.grad is None and all(p.grad is not None for p in decoder.parameters())


def test_without_gradients_nothing_is_kept() -> None:
    decoder, planes, points = make()
    with torch.no_grad():
        raw, colours = decode_planes(decoder, planes.requires_grad_(), points, "eg3d", BOX, True)
    expected = decode_planes_plain(decoder, planes, points, "eg3d", BOX, True)
    assert raw.grad_fn is None and colours is not None
    torch.testing.assert_close((raw, colours), expected)


def test_large_and_small_sums_keep_their_softplus() -> None:
    x = torch.tensor([-1000.0, -100.0, -20.0, -1.0, 0.0, 1.0, 19.0, 21.0, 90.0, 1e30])
    found = plane_decoder._softplus_(x.clone())
    torch.testing.assert_close(found, nn.functional.softplus(x), atol=2e-7, rtol=2e-7)
    assert plane_decoder._softplus_(torch.full((3,), torch.nan)).isnan().all()


def test_products_do_without_onednn(monkeypatch: Any) -> None:
    given = make(torch.float32)
    found = gradients(decode_planes, *given)
    monkeypatch.setattr(products, "_onednn", None)
    same(gradients(decode_planes, *given), found, 1e-5)


def weights_with_dead(points: Tensor, dead: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of which three in four are so small beside the mean, and which."""
    torch.manual_seed(2)
    shape = points.shape[:2]
    small = torch.rand(shape) < 0.75
    factor = torch.where(small, dead, 1.0).to(points)
    first = torch.randn(shape).to(points).sign() * factor
    return first, torch.randn(*shape, COLOURS).to(points).clamp(-1, 1) * factor[..., None], small


def test_points_without_gradient_are_left_out() -> None:
    decoder, planes, points = make(points=4000)
    *given, small = weights_with_dead(points, DEAD * 0.1)
    for raw, colour, dead in zip(*given, small, strict=True):
        live = torch.cat(list(plane_decoder._live_parts(raw, colour, len(raw))))
        assert torch.equal(live, (~dead).nonzero()[:, 0])
    found = gradients(decode_planes, decoder, planes, points, weights=tuple(given))
    expected = gradients(decode_planes_plain, decoder, planes, points, weights=tuple(given))
    left_out = float((found["planes"] - expected["planes"]).abs().max())
    assert 0 < left_out  # something was
    for name, value in expected.items():
        error = float((found[name] - value).abs().sum() / value.abs().sum())
        assert error < 3 * DEAD, name


def test_each_scene_has_its_own_scale() -> None:
    """A scene whose loss weighs a billionth of another's keeps its gradient."""
    given = make(points=300)
    torch.manual_seed(3)
    first, second = torch.randn(2, 300), torch.randn(2, 300, COLOURS)
    weights = (first.double(), second.double())
    for value in weights:
        value[1] *= 1e-9
    found = gradients(decode_planes, *given, weights=weights)["planes"]
    expected = gradients(decode_planes_plain, *given, weights=weights)["planes"]
    torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-16)


def test_a_gradient_that_is_no_number_is_not_lost() -> None:
    decoder, planes, points = make()
    planes.requires_grad_()
    raw, _ = decode_planes(decoder, planes, points, "eg3d", BOX, False)
    weights = torch.ones_like(raw)
    weights[0, 5] = torch.nan
    (raw * weights).sum().backward()
    assert planes.grad is not None and planes.grad[0].isnan().any()


def test_no_gradient_at_all_is_zero() -> None:
    decoder, planes, points = make()
    raw, _ = decode_planes(decoder, planes.requires_grad_(), points, "eg3d", BOX, False)
    (raw * 0).sum().backward()
    assert planes.grad is not None and not planes.grad.any()


class Louder(Decoder):
    def forward(self, features: Tensor, colour: bool = True) -> tuple[Tensor, Tensor | None]:
        raw, colours = super().forward(features, colour)
        return raw * 2, colours


@pytest.mark.parametrize("other", ["subclass", "hook", "inner hook", "layer", "parametrized"])
def test_other_decoders_are_called(other: str) -> None:
    decoder, planes, points = make()
    before = decode_planes(decoder, planes, points, "eg3d", BOX, True)[0]
    if other == "subclass":
        louder = Louder(CHANNELS, COLOURS, HIDDEN, 0.5).double()
        louder.load_state_dict(decoder.state_dict())
        decoder = louder
    elif other == "hook":
        decoder.register_forward_hook(lambda _, __, made: (made[0] * 2, made[1]))
    elif other == "inner hook":
        decoder.net[2].register_forward_hook(lambda _, __, made: made * 2)
    elif other == "layer":
        decoder.net[2] = Twice(decoder.net[2])
    else:
        nn.utils.parametrize.register_parametrization(decoder.net[2], "weight", Double())
        nn.utils.parametrize.register_parametrization(decoder.net[2], "bias", Double())
    assert not is_node(decoder, planes, points)
    after = decode_planes(decoder, planes, points, "eg3d", BOX, True)[0]
    torch.testing.assert_close(after, before * 2)


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Twice(nn.Module):
    def __init__(self, layer: EqualLinear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        return self.layer(x, rows) * 2


def test_points_that_want_a_gradient_get_one() -> None:
    decoder, planes, points = make()
    points.requires_grad_()
    assert not is_node(decoder, planes, points)
    decode_planes(decoder, planes, points, "eg3d", BOX, True)[0].sum().backward()
    assert points.grad is not None and points.grad.any()


def test_reduced_precision_is_left_to_autocast() -> None:
    given = make(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_node(*given)
    decoder, planes, points = given
    assert not is_node(decoder, planes.detach(), points.double().float().requires_grad_())


def test_a_tuned_decoder_learns_the_same() -> None:
    """Three steps of an optimiser on planes and decoder, both ways."""
    ends = []
    for decode in (decode_planes, decode_planes_plain):
        decoder, planes, points = make(slices=(2,))
        planes.requires_grad_()
        optimiser = torch.optim.SGD([planes, *decoder.parameters()], lr=1e-2)
        for _ in range(3):
            optimiser.zero_grad()
            raw, colours = decode(decoder, planes, points, "panohead", BOX, True)
            assert colours is not None
            ((raw - 1).square().mean() + colours.square().mean()).backward()
            optimiser.step()
        ends.append([planes, *decoder.parameters()])
    for found, expected in zip(*ends, strict=True):
        torch.testing.assert_close(found, expected)


def test_planes_that_are_decoded_twice_are_rearranged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder, planes, points = make(slices=(2,))
    alone = gradients(decode_planes, decoder, planes, points)
    made: list[int] = []
    table = plane_gather.texel_table
    monkeypatch.setattr(plane_gather, "texel_table", lambda given: made.append(1) or table(given))
    tables = TexelTables(planes)
    for colour in (False, True):
        again = gradients(partial(decode_planes, tables=tables), decoder, planes, points, colour)
    assert len(made) == len(planes)
    same(again, alone, 0.0)
