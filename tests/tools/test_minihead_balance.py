"""A balanced w: the same pictures, spreads that say what is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inv3d.core.weights.tensors import asset
from inv3d.plugins.generators.minihead import MiniHead
from tools.minihead.balance import FLOOR, balance, effects, even_out, rescale
from tools.minihead.factors import GAIN
from tools.minihead.layout import Z_DIM
from tools.minihead.network import LEARNED, build, warm_start, write_weights


@pytest.fixture
def network(tmp_path: Path) -> MiniHead:
    made = build(0)
    warm_start(made, asset("minihead.safetensors"))
    write_weights(made, tmp_path / "w.safetensors", {})
    return MiniHead.create(MiniHead.Config(), tmp_path / "w.safetensors")


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pictures_stay_the_same(network: MiniHead) -> None:
    z = torch.randn(2, Z_DIM, generator=rng(2))
    camera = network.spec.camera.orbit(torch.tensor([0.3]))

    def picture(truncation: float) -> torch.Tensor:
        scene = network.synthesize(network.map(z[:1], truncation=truncation))
        return network.render(scene, camera, resolution=16).require("image")

    before = [picture(t) for t in (1.0, 0.5)]
    w = network.map(z)[:, 0]
    scales = 0.2 + 3 * torch.rand(w.shape[1], generator=rng(3))
    rescale(network, scales)
    torch.testing.assert_close(network.map(z)[:, 0], w * scales, rtol=1e-4, atol=1e-5)
    for t, wanted in zip((1.0, 0.5), before, strict=True):
        torch.testing.assert_close(picture(t), wanted, rtol=1e-3, atol=1e-3)


def test_spreads_become_effects(network: MiniHead) -> None:
    balance(network, heads=1)
    spread = network.map(torch.randn(4000, Z_DIM, generator=rng(4)))[:, 0].std(0)
    assert spread.mean() == pytest.approx(1.0, abs=0.05)
    seen = effects(network, heads=1)
    wanted = (seen / seen.mean()).clamp(min=FLOOR)
    torch.testing.assert_close(spread, wanted / wanted.mean(), rtol=0.1, atol=0.05)


def test_every_factor_stands_out_for_training_and_back_again(network: MiniHead) -> None:
    z = torch.randn(4000, Z_DIM, generator=rng(5))
    before = network.map(z)[:, 0]
    scales = even_out(network)
    spread, wanted = network.map(z)[:, 0].std(0), torch.ones(network.spec.w_dim)
    wanted[LEARNED:] = GAIN
    torch.testing.assert_close(spread, wanted, rtol=0.1, atol=0)
    rescale(network, 1 / scales)
    torch.testing.assert_close(network.map(z)[:, 0], before, rtol=1e-5, atol=1e-5)
