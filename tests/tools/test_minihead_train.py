"""Training of the embedded generator: both phases learn, and a killed run goes on exactly."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click import UsageError
from click.testing import CliRunner
from torch.nn import functional as F

from inv3d.core.generator import load_generator
from inv3d.core.weights.tensors import asset, read_tensors, write_tensors
from inv3d.io.dataset import open_capture
from inv3d.plugins.generators.minihead import MiniHead
from inv3d.train.latents import read_known_latents
from tools.minihead import make_pictures, make_pool
from tools.minihead import train as training
from tools.minihead.cameras import CLOSE_UPS, FOCAL
from tools.minihead.factors import FACTORS, RAMPS, factors, fit_known_factors
from tools.minihead.heads import Heads
from tools.minihead.layout import LAYOUT, NAMES, Z_DIM
from tools.minihead.network import ARCHITECTURE, LEARNED, NAME, build, warm_start, with_factors
from tools.minihead.pool import MANLY, SIZE, SMALL, Pool, is_pairs, pairs_z, training_z
from tools.minihead.train import (
    FACIAL,
    LAST_ROW,
    Arrivals,
    Plan,
    Trainer,
    camera_of,
    difference_loss,
    files_of,
    fill,
    image_step,
    importance,
    rate_at,
    roughness,
    train,
    train_step,
)

RUNS = ("whole", "parts")
PLAN = Plan(
    surface_steps=2, image_steps=4, cooldown=2, surface_heads=2, surface_views=2, rays=64,
    image_heads=2, image_views=2, image_rays=32, pairs_every=2, pool=4, pool_views=2,
)  # fmt: skip


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads("cpu")


@pytest.fixture(scope="module")
def pool(heads: Heads) -> Pool:
    made = Pool(heads, 4, 2, SIZE, rng(1), supersample=1)
    made.add(4)
    return made


@pytest.fixture(scope="module")
def pairs(heads: Heads) -> Pool:
    made = Pool(heads, 4, 2, SIZE, rng(2), supersample=1, pairs=True)
    made.add(4)
    return made


@pytest.fixture(scope="module")
def no_pairs(heads: Heads) -> Pool:
    return Pool(heads, 0, 2, SIZE, rng(2), pairs=True)


def begun() -> Trainer:
    trainer = Trainer(PLAN, torch.device("cpu"))
    trainer.begin(None, factor_steps=2)
    return trainer


def test_rare_faces_are_frequent_in_training(heads: Heads) -> None:
    z = training_z(heads, 4000, rng(2))
    closed = (z[:, NAMES["blink"]] > 1.2).float().mean()
    assert 0.25 < closed < 0.37  # 0.115 of N(0, 1)
    assert (z[:, NAMES["smile"]] > 1.36).float().mean() < 0.12


def test_a_pair_differs_in_one_small_factor(heads: Heads) -> None:
    z = pairs_z(heads, 400, rng(3)).unflatten(0, (-1, 2))
    changed = z[:, 0] != z[:, 1]
    assert (changed.sum(1) == 1).all()
    small = {NAMES[name].start for name in SMALL}
    found = set(changed.nonzero()[:, 1].tolist())
    assert found <= small and len(found) > 0.9 * len(small)
    assert not found & set(range(LAYOUT["identity"].start, LAYOUT["identity"].stop))
    assert ((z[:, 1] - z[:, 0]).amax(1) > 2.3).all()
    for name in MANLY:
        chosen = z[changed[:, NAMES[name].start], 0]
        assert (chosen[:, NAMES["gender"]] < 0).all()


def test_a_pair_is_seen_by_the_same_cameras_and_drawn_together(pairs: Pool) -> None:
    assert torch.equal(pairs.cam2world[::2], pairs.cam2world[1::2])
    assert not torch.equal(pairs.rgb[::2], pairs.rgb[1::2])
    views = pairs.draw(4, 1, rng(4))
    for first in (0, 2):
        assert torch.equal(views.cam2world[first], views.cam2world[first + 1])
        assert torch.equal(views.focal[first], views.focal[first + 1])
        assert (views.z[first] != views.z[first + 1]).sum() == 1


def test_close_ups_are_trained_with_their_own_focal_length(pool: Pool) -> None:
    wide = Pool(pool.heads, 40, 4, 16, rng(5), supersample=1)
    wide.add(40)
    near = (wide.focal > FOCAL).float().mean()
    assert abs(float(near) - CLOSE_UPS) < 0.1
    camera = camera_of(wide.draw(8, 4, rng(6)))
    assert len(camera) == 32 and camera.intrinsics[:, 0, 0].unique().numel() > 1


def test_eyes_and_mouth_and_the_last_row_count_more(pool: Pool) -> None:
    views = pool.draw(4, 2, rng(3))
    weight = importance(views)
    assert weight.shape == (4, 2, 1, SIZE, SIZE)
    assert weight[..., -1, :].min() == 1 + LAST_ROW
    weight[..., -1, :] -= LAST_ROW
    assert weight.min() == 1
    assert 1 + FACIAL / 2 < weight.max() <= 1 + FACIAL
    assert (weight[views.depth == 0] == 1).all()
    assert 0.005 < (weight > 2).float().mean() < 0.2


def test_texture_counts_wherever_it_lies_but_not_less_of_it() -> None:
    noise = torch.rand(1, 3, SIZE, SIZE, generator=rng(7))
    beside, soft = noise.roll(1, 3), F.avg_pool2d(noise, 3, 1, 1)
    wrong = [float((roughness(v) - roughness(noise)).abs().mean()) for v in (beside, soft)]
    assert wrong[0] < 0.25 * wrong[1]


def test_a_mapping_network_may_be_kept(pool: Pool, no_pairs: Pool) -> None:
    trainer = Trainer(replace(PLAN, keep_mapping=1), torch.device("cpu"))
    before = copy.deepcopy(trainer.network.state_dict())
    train_step(trainer, pool, no_pairs)
    moved = {n for n, v in trainer.network.state_dict().items() if not torch.equal(v, before[n])}
    assert moved and not any(".mapping." in name for name in moved)


def test_a_kept_mapping_is_written_as_it_was(tmp_path: Path, pool: Pool, no_pairs: Pool) -> None:
    weights = asset("minihead.safetensors")
    trainer = Trainer(replace(PLAN, keep_mapping=1), torch.device("cpu"))
    trainer.begin(weights)
    train(trainer, pool, no_pairs, tmp_path, time_limit=0)
    before, after = (read_tensors(f)[0] for f in (weights, tmp_path / f"{NAME}.safetensors"))
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    # the mean is of other sums, and may round otherwise
    assert {name for name in before if ".mapping." in name and "w_avg" not in name} <= same
    assert not {name for name in before if name.endswith("affine.weight")} <= same


def test_pairs_are_compared_without_random_places_along_rays(pool: Pool, pairs: Pool) -> None:
    trainer = begun()
    seen = []
    for kind in (pairs, pool):
        image_step(trainer, kind)
        seen.append(trainer.network.sampling)
    assert seen == ["deterministic", "stochastic"]


def test_files_that_come_while_training_goes_on_are_taken_once(
    tmp_path: Path, heads: Heads, pool: Pool, pairs: Pool
) -> None:
    def shard(name: str, kind: Pool) -> None:
        write_tensors(tmp_path / name, kind.tensors(), {"pairs": kind.pairs})

    shard("0.safetensors", pool)
    found, two = (fill(begun(), files_of([tmp_path]), kind) for kind in (False, True))
    assert (found.filled, two.filled) == (4, 0)
    arrivals = Arrivals([tmp_path], files_of([tmp_path]))
    shard("1.safetensors", pool)
    shard("2.safetensors", pairs)
    (tmp_path / ".3.5b2f.safetensors").write_bytes(b"half of a file")
    for _ in range(2):
        arrivals.take(found, two)
        assert (found.filled, two.filled) == (8, 4)
    assert torch.equal(found.z[:4], found.z[4:]) and torch.equal(found.rgb[4:], pool.rgb)
    shard("4.safetensors", two)
    with pytest.raises(UsageError, match=r"4\.safetensors: 2 views a head, expected 1 "):
        narrow = Pool(heads, 2, 1, SIZE, rng(9), supersample=1, pairs=True)
        narrow.add(2)
        shard("narrow.safetensors", narrow)
        fill(begun(), [tmp_path / "narrow.safetensors", tmp_path / "4.safetensors"], True)


def test_processes_share_out_what_comes_whenever_they_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"{number}.safetensors" for number in range(12)]
    for name in names:
        write_tensors(Path(name), {"z": pool.z}, {"pairs": False})
    taken = []
    for process, looks in enumerate(([names], [names[:5], names[:6], names])):
        monkeypatch.setattr(training, "rank", lambda process=process: process)
        monkeypatch.setattr(training.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(training.distributed, "get_world_size", lambda: 2)
        mine: list[Path] = []
        fake = SimpleNamespace(pairs=False, load=mine.extend)
        arrivals = Arrivals([], [])
        for seen in looks:
            there = [Path(name) for name in seen]
            monkeypatch.setattr(training, "files_of", lambda _, there=there: there)
            arrivals.take(fake)  # type: ignore[arg-type]
        taken.append({file.name for file in mine})
    assert taken[0] | taken[1] == set(names) and not taken[0] & taken[1]
    assert min(map(len, taken)) >= 2


def test_the_difference_loss_is_relative_to_the_true_change() -> None:
    wanted = torch.zeros(4, 3, 8, 8)
    wanted[1], wanted[3] = 0.5, -0.1
    flat = torch.zeros_like(wanted)
    assert float(difference_loss(wanted + 0.3, wanted)) < 1e-10  # what pairs share is left out
    assert 0.9 < float(difference_loss(flat, wanted)) < 1
    both = wanted.clone()
    both[1] = 0
    assert 0.45 < float(difference_loss(both, wanted)) < 0.5


def test_rates_fall_at_the_end_alone() -> None:
    rates = [rate_at(step, 1000, 2.0, 100) for step in range(1000)]
    assert rates[0] < 0.2 and rates[60] == rates[900] == 2.0
    assert rates[950] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.04)
    assert rate_at(500, 1000, 2.0, 0) == 2.0


def test_a_killed_run_goes_on_to_the_same_numbers(pool: Pool, pairs: Pool, tmp_path: Path) -> None:
    for run in RUNS:
        (tmp_path / run).mkdir()
    whole = begun()
    before = whole.network.decoder.net[0].weight.clone()
    train(whole, pool, pairs, tmp_path / "whole")
    assert whole.step == 6
    assert not torch.equal(before, whole.network.decoder.net[0].weight)
    losses = set(train_step(whole, pool, pairs))  # an even step
    assert {"l1", "surface_l1", "likeness", "difference"} <= losses

    parts = begun()
    train(parts, pool, pairs, tmp_path / "parts", time_limit=0)
    assert parts.step == 1
    for limit in (0.0, math.inf):
        parts = Trainer(PLAN, torch.device("cpu"))
        parts.load(torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True))
        train(parts, pool, pairs, tmp_path / "parts", time_limit=limit)
    assert parts.step == 6
    first, second = (read_tensors(tmp_path / run / f"{NAME}.safetensors") for run in RUNS)
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])
    assert first[1]["training"]["steps"] == 6


def test_pools_in_files_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_pool, "SHARD", 2)
    runner = CliRunner()
    for name, more in (("heads", []), ("pairs", ["--pairs"])):
        options = ["--heads", "2", "--views", "2", "--supersample", "1", "--seed", "3210", *more]
        result = runner.invoke(make_pool.main, ["--out", str(tmp_path / name), *options])
        assert result.exit_code == 0, result.output
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert [is_pairs(file) for file in files] == [False, True]
    trainer = begun()
    for wanted in (False, True):
        found = fill(trainer, files, wanted)
        assert found.pairs == wanted and found.filled == 2
    assert not fill(trainer, files[:1], True).filled
    _check_pictures(tmp_path)


def _check_pictures(place: Path) -> None:
    """Pools as pictures for trainings: those that face the camera, with their latents."""
    out = place / "heads.zip"
    command = [str(place / "heads"), str(place / "pairs"), str(out), "--yaw-deg", "180"]
    result = CliRunner().invoke(make_pictures.main, command)
    assert result.exit_code == 0, result.output
    files, generator = open_capture(out), load_generator("minihead")
    pools = [read_tensors(file)[0] for file in sorted(place.rglob("000000.safetensors"))]
    focal = torch.cat([pool["focal"].flatten() for pool in pools])
    assert len(files) == int((focal < 4.3).sum()) > 0
    ws = read_known_latents(files, generator)
    first = files.load(SIZE, [0])
    row = (pools[0]["focal"] < 4.3).nonzero()[0].tolist()
    assert ws is not None
    assert torch.allclose(ws[0], generator.map(pools[0]["z"][row[:1]])[0], atol=1e-5)
    pose = pools[0]["cam2world"][row[0], row[1]]
    assert torch.allclose(first.camera.cam2world[0], pose, atol=1e-5)
    levels = (first.images[0] + 1) * 127.5
    assert torch.allclose(levels, pools[0]["rgb"][row[0], row[1]].float(), atol=0.01)


def test_known_factors_follow_what_z_stands_for() -> None:
    network = build(0)
    with_factors(network, steps=150)
    known = network.backbone.mapping.known
    assert known is not None
    assert known.slopes.shape == (RAMPS, Z_DIM) and known.shift.shape == (FACTORS,)
    z = torch.randn(4000, Z_DIM, generator=rng(7))
    wanted = factors(z)
    wanted = (wanted - wanted.mean(0)) / wanted.std(0)
    likeness = [
        float(torch.corrcoef(torch.stack(pair))[0, 1])
        for pair in zip(known(z).t(), wanted.t(), strict=True)
    ]
    assert min(likeness) > 0.4 and sum(likeness) / len(likeness) > 0.93
    assert fit_known_factors(known, steps=2) > 0.2
    w = network.backbone.mapping(z)
    assert w.shape == (4000, LEARNED + FACTORS)


def test_training_begins_from_weights_that_were_written(
    tmp_path: Path, pool: Pool, no_pairs: Pool
) -> None:
    trainer = begun()
    train(trainer, pool, no_pairs, tmp_path, time_limit=0)
    again = build(5)
    warm_start(again, tmp_path / f"{NAME}.safetensors")
    made = MiniHead.create(MiniHead.Config(), tmp_path / f"{NAME}.safetensors")
    z = torch.randn(2, Z_DIM, generator=rng(8))
    torch.testing.assert_close(again.map(z), made.map(z))
    assert made.architecture.model_dump(exclude={"neural_rendering_resolution"}) == (
        ARCHITECTURE.model_dump(exclude={"neural_rendering_resolution"})
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("image_stps=2", "the plan has no 'image_stps'; did you mean 'image_steps'?"),
        ("image_steps=many", "image_steps=many: expected a number, image_steps=NUMBER"),
        ("image_steps", "image_steps: expected a number"),
        ("image_steps=inf", "image_steps=inf: expected a number"),
    ],
)
def test_a_change_that_the_plan_cannot_take_is_a_usage_error(
    change: str, message: str, tmp_path: Path
) -> None:
    command = ["--out", str(tmp_path / "new"), "--plan", change]
    result = CliRunner().invoke(training.main, command)
    assert result.exit_code == 2 and message in result.output
    assert not (tmp_path / "new").exists()
