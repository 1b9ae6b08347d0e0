"""StyleGAN2's building blocks against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.filters import blur, is_standard, resample_filter, upsample, upsample_plain
from inv3d.nn.stylegan2 import (
    MappingNetwork,
    SynthesisBlock,
    SynthesisLayer,
    SynthesisNetwork,
    default_channels,
)

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def filtered(x: Tensor, before: int, after: int) -> Tensor:
    """Pad and apply the filter with gain 4, pixel by pixel."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=DOUBLE) / 4
    padded = F.pad(x, (before, after, before, after))
    size = padded.shape[-1] - 3
    rows = sum(taps[i] * padded[..., i : i + size, :] for i in range(4))
    return sum(taps[i] * rows[..., i : i + size] for i in range(4))


def test_upsampling_is_the_plain_one_which_is_its_definition() -> None:
    x = normal(2, 3, 5, 5).requires_grad_()
    sparse = torch.zeros(2, 3, 10, 10, dtype=DOUBLE)
    sparse[..., ::2, ::2] = x.detach()
    plain = upsample_plain(x)
    torch.testing.assert_close(plain.detach(), filtered(sparse, 2, 1))
    same_with_gradients(upsample(x), plain, x)


def same_with_gradients(found: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(found, expected)
    weights = normal(*found.shape, seed=5)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_blur_is_the_filter() -> None:
    x = normal(2, 3, 11, 11)
    torch.testing.assert_close(blur(x, resample_filter().double()), filtered(x, 1, 1))


def test_other_filters_are_recognised() -> None:
    assert is_standard(resample_filter().half())
    assert not is_standard(torch.eye(4))
    assert not is_standard(torch.ones(2, 2))


def test_layer_adds_noise_and_clamps() -> None:
    torch.manual_seed(0)
    layer = SynthesisLayer(4, 4, 8, 6, clamp=0.3)
    x, w = normal(2, 4, 6, 6).float(), normal(2, 8).float()
    torch.nn.init.constant_(layer.noise_strength, 0.5)
    assert not torch.equal(layer(x, w, "none"), layer(x, w, "const"))
    assert layer(x, w).abs().max().item() == pytest.approx(0.3)
    drawn = [layer(x, w, "random", torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match=r"generator\.rng"):
        layer(x, w, "random")


def test_block_without_upsampling_adds_to_the_image() -> None:
    torch.manual_seed(0)
    block = SynthesisBlock(4, 4, 8, 6, 3, up=False)
    x, image, w = normal(1, 4, 6, 6).float(), normal(1, 3, 6, 6).float(), normal(1, 8).float()
    features, grown = block(x, image, (w, w, w))
    assert features.shape == (1, 4, 6, 6)
    _, alone = block(x, None, (w, w, w))
    torch.testing.assert_close(grown, alone + image)


def test_constant_maps_start_as_nothing_and_learn() -> None:
    torch.manual_seed(0)
    network = SynthesisNetwork(8, (6, 6, 4), 3, constant_maps=True)
    assert network.num_ws == 6
    names = {n for n, _ in network.named_parameters()}
    assert {"base", "b8.constant_map", "b16.constant_map"} < names
    assert "b4.constant_map" not in names
    ws = normal(2, 6, 8).float()
    before = network(ws)
    network(ws).square().mean().backward()
    assert network.base is not None and network.base.grad is not None
    assert network.b8.constant_map.grad.abs().max() > 0
    plain = SynthesisNetwork(8, (6, 6, 4), 3)
    plain.load_state_dict(network.state_dict(), strict=False)
    torch.testing.assert_close(plain(ws), before)


def test_every_row_of_ws_is_used_once_as_in_stylegan2() -> None:
    torch.manual_seed(0)
    network = SynthesisNetwork(8, (6, 6, 4), 3)
    ws = normal(1, 6, 8).float().requires_grad_()
    network(ws).square().sum().backward()
    assert ws.grad is not None and (ws.grad.abs().sum(dim=2) > 0).all()


def test_channels_follow_the_rule() -> None:
    assert default_channels(256, 32768, 512) == [512, 512, 512, 512, 512, 256, 128]


def test_mapping_with_a_linear_last_layer() -> None:
    torch.manual_seed(0)
    active = MappingNetwork(8, 0, 3, lr_multiplier=1.0)
    linear = MappingNetwork(8, 0, 3, lr_multiplier=1.0, activate_last=False)
    linear.load_state_dict(active.state_dict())
    z = normal(20, 8).float()
    assert linear(z).min() < 0
    torch.testing.assert_close(active(z), F.leaky_relu(linear(z), 0.2) * 2**0.5)


def test_mapping_without_camera_or_normalisation() -> None:
    torch.manual_seed(0)
    network = MappingNetwork(8, 0, 16, layers=3, lr_multiplier=1.0, normalize_z=False)
    z = normal(2, 8).float()
    assert network(z).shape == (2, 16)
    assert not torch.allclose(network(z), network(2 * z))
    normalised = MappingNetwork(8, 0, 16)
    torch.testing.assert_close(normalised(z), normalised(2 * z))
