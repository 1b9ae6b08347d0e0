"""Training of minihead: both phases learn, and a killed run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inv3d.core.weights.tensors import asset, read_tensors
from inv3d.plugins.generators.minihead import MiniHead360
from tools.minihead.heads import Heads
from tools.minihead.layout import NAMES, Z_DIM
from tools.minihead.network import GRID_ARCHITECTURE, NETWORKS, build, sliced, warm_start
from tools.minihead.pool import SIZE, Pool, training_z
from tools.minihead.train import FACIAL, Plan, Trainer, importance, train

PLAN = Plan(
    surface_steps=2, image_steps=2, surface_heads=2, surface_views=2, rays=64, image_heads=1,
    image_views=2, image_rays=32, critic_from=1, pool=4, pool_views=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Pool:
    made = Pool(Heads("cpu"), 4, 2, SIZE, torch.Generator().manual_seed(1), supersample=1)
    made.add(4)
    return made


def test_rare_faces_are_frequent_in_training() -> None:
    z = training_z(Heads("cpu"), 4000, torch.Generator().manual_seed(2))
    closed = (z[:, NAMES["blink"]] > 1.36).float().mean()
    assert 0.25 < closed < 0.37  # 0.087 of N(0, 1)
    assert (z[:, NAMES["smile"]] > 1.36).float().mean() < 0.12


def test_eyes_and_mouth_count_more(pool: Pool) -> None:
    pool.rng.manual_seed(3)
    views = pool.draw(4, 2)
    weight = importance(views)
    assert weight.shape == (4, 2, 1, SIZE, SIZE)
    assert weight.min() == 1
    assert 1 + FACIAL / 2 < weight.max() <= 1 + FACIAL
    assert (weight[views.depth == 0] == 1).all()
    assert 0.01 < (weight > 2).float().mean() < 0.1


@pytest.mark.parametrize("network", NETWORKS)
def test_a_stopped_run_goes_on(pool: Pool, tmp_path: Path, network: str) -> None:
    first = Trainer(PLAN, torch.device("cpu"), network)
    before = first.network.decoder.net[0].weight.clone()
    train(first, pool, tmp_path, time_limit=0, every=100)
    assert first.step == 1
    second = Trainer(PLAN, torch.device("cpu"), network)
    second.load(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert torch.equal(first.network.decoder.net[0].weight, second.network.decoder.net[0].weight)
    train(second, pool, tmp_path, time_limit=float("inf"), every=100)
    assert second.step == 4
    assert not torch.equal(before, second.network.decoder.net[0].weight)
    assert all(bool(p.isfinite().all()) for p in second.network.parameters())
    warm = Trainer(PLAN, torch.device("cpu"), network)
    warm.warm_start(tmp_path / f"{network}.safetensors")
    assert warm.step == 0


def test_a_tri_grid_begins_as_the_tri_planes_that_it_is_made_of() -> None:
    path = asset("minihead.safetensors")
    planes, grid = (
        build("minihead", 0),
        MiniHead360(GRID_ARCHITECTURE.model_copy(update={"base_resolution": None})),
    )
    for network in (planes, grid):
        warm_start(network, path)
    rng = torch.Generator().manual_seed(4)
    ws = planes.map(torch.randn(1, Z_DIM, generator=rng))
    # Between the centres of the outermost slices; beyond them a tri-grid fades.
    points = (torch.rand(1, 200, 3, generator=rng) - 0.5) * 0.4
    for made, wanted in zip(
        grid.sample(grid.synthesize(ws), points),
        planes.sample(planes.synthesize(ws), points),
        strict=True,
    ):
        torch.testing.assert_close(made, wanted, rtol=1e-3, atol=1e-4)


def test_a_smaller_base_plane_keeps_the_larger_ones_mean() -> None:
    tensors, _ = read_tensors(asset("minihead.safetensors"))
    base = tensors["backbone.synthesis.base"].float()
    made = sliced(tensors, 2, 64)["backbone.synthesis.base"]
    assert made.shape == (96, 64, 64)
    torch.testing.assert_close(made[::2].mean((1, 2)), base.mean((1, 2)), rtol=0, atol=1e-5)
    assert torch.equal(made[::2], made[1::2])
