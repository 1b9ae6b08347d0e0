import math

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from inv3d.core.weights.tensors import read_tensors
from inv3d.plugins.losses.headid import HeadID, HeadIDConfig
from tools.minihead.identity_data import (
    SIZE,
    augment,
    draw_person,
    evaluate,
    person_z,
    roc_auc,
)
from tools.minihead.layout import LAYOUT
from tools.minihead.seeds import z_of_seed
from tools.minihead.train_identity import Plan, Trainer, main, margin_softmax, train


def plan(network="a", steps=4):
    return Plan(network, 7, steps, 5, 1, 3, 2, 3, 2)


def pictures(people=5, shots=3, seed=0):
    """Every person is a coarse pattern, every picture of them is noisy."""
    rng = torch.Generator().manual_seed(seed)
    pattern = torch.rand(people, 1, 3, 4, 4, generator=rng) * 215
    noise = torch.rand(people, shots, 3, SIZE, SIZE, generator=rng) * 40
    fine = pattern.repeat_interleave(SIZE // 4, -2).repeat_interleave(SIZE // 4, -1)
    return (fine + noise).to(torch.uint8)


def test_a_person_keeps_identity_and_appearance_only():
    z, yaw, pitch = draw_person(42, 3, 4, math.radians(70))
    again = draw_person(42, 3, 4, math.radians(70))
    assert all(torch.equal(x, y) for x, y in zip((z, yaw, pitch), again, strict=True))
    for group in ("identity", "appearance"):
        assert torch.equal(z[0, LAYOUT[group]], z[2, LAYOUT[group]])
    for group in ("clothes", "light", "expression"):
        assert not torch.equal(z[0, LAYOUT[group]], z[2, LAYOUT[group]])
    assert yaw.shape == (3, 4) and float(yaw.abs().max()) <= math.radians(70)


def test_relatives_are_near_and_strangers_far():
    zs = torch.stack([person_z(seed, 4) for seed in range(400)])[:, : LAYOUT["appearance"].stop]
    apart = torch.cdist(zs, zs).square() / zs.shape[1]
    kin = torch.block_diag(*[torch.ones(4, 4)] * 100).bool() & ~torch.eye(400).bool()
    assert 0.1 < float(apart[kin].mean()) < 0.4 and float(apart[kin].max()) < 1
    assert float(apart[~kin & ~torch.eye(400).bool()].mean()) == pytest.approx(2, abs=0.2)
    assert torch.equal(person_z(7), z_of_seed(7))


def test_a_batch_holds_whole_families():
    trainer = Trainer(Plan("a", 7, 4, 8, 1, 3, 2, 4, 2, family=2), torch.device("cpu"))
    _, people = trainer.batch(pictures(people=8))
    assert sorted(people.tolist()) == sorted({p ^ 1 for p in people.tolist()})


def test_auc_counts_pairs():
    rng = torch.Generator().manual_seed(0)
    same = torch.randint(0, 6, (40,), generator=rng).float() + 1
    other = torch.randint(0, 6, (70,), generator=rng).float()
    wins = (same[:, None] > other).float() + 0.5 * (same[:, None] == other).float()
    assert roc_auc(same, other) == pytest.approx(float(wins.mean()))
    assert roc_auc(other + 10, other) == 1.0 and roc_auc(other, other + 10) == 0.0


def test_evaluation_knows_good_from_useless():
    class Coarse(torch.nn.Module):
        def forward(self, images):
            coarse = F.adaptive_avg_pool2d(images, 4)
            return F.normalize(coarse.flatten(1), dim=1)

    class Nothing(torch.nn.Module):
        def forward(self, images):
            return torch.ones(len(images), 2)

    yaw = torch.tensor([-1.0, 0.0, 1.0]).expand(5, 3)
    seen = {"rgb": pictures(), "yaw": yaw}
    assert evaluate(Coarse(), seen)["auc"] > 0.95
    assert set(evaluate(Nothing(), seen).values()) == {0.5}
    found = evaluate(Coarse(), seen, family=2)
    assert found["auc_family"] > 0.95


def test_augmentation_is_seeded_and_in_range():
    images = pictures().flatten(0, 1).float() / 127.5 - 1
    rows = [augment(images, torch.Generator().manual_seed(s), 32) for s in (1, 1, 2)]
    assert rows[0].shape == images.shape and float(rows[0].abs().max()) <= 1
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])


@pytest.mark.parametrize("network", ["a", "b"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(network, tmp_path):
    data, checkpoint = pictures(), tmp_path / "state.safetensors"
    whole = Trainer(plan(network), torch.device("cpu"))
    train(whole, data, tmp_path / "whole.safetensors", 2, 4)
    killed = Trainer(plan(network), torch.device("cpu"))
    train(killed, data, checkpoint, 2, 2)
    resumed = Trainer(plan(network), torch.device("cpu"))
    resumed.load(checkpoint)
    assert resumed.step == 2
    train(resumed, data, checkpoint, 2, 4)
    assert resumed.curve == whole.curve and len(whole.curve) == 2
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_training_tells_patterns_apart():
    trainer = Trainer(plan(steps=30), torch.device("cpu"))
    data = pictures()
    loss, right = torch.stack([torch.stack(trainer.take(data)) for _ in range(30)]).unbind(1)
    assert float(loss[-12:].mean()) < 0.7 * float(loss[0])
    assert float(right[-12:].mean()) > 0.9


def test_the_softmax_compares_with_the_other_pictures_of_a_person():
    axes = torch.eye(3)
    apart = torch.stack([axes, axes], 1)  # two equal pictures of each of three people
    loss, right = margin_softmax(apart, margin=0.2, scale=10.0)
    assert float(right) == 1.0
    expected = torch.log1p(2 * torch.exp(torch.tensor(-10.0 * 0.8)))
    torch.testing.assert_close(loss, expected)
    swapped = torch.stack([axes, axes.roll(1, 0)], 1)  # the other picture shows someone else
    assert float(margin_softmax(swapped, 0.2, 10.0)[1]) == 0.0


@pytest.mark.slow
def test_command_writes_weights_that_the_loss_loads(tmp_path):
    small = "--steps 2 --people 4 --faces 1 --views 2 --batch 2x2 --judged 4 --every 1".split()
    arguments = ["--network", "b", "--family", "2", "--out", str(tmp_path), *small]
    arguments += ["--pool", str(tmp_path / "pool.safetensors")]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and "auc" in done.output
    path = tmp_path / "headid_b.safetensors"
    state, facts = read_tensors(path)
    assert facts["network"] == "b" and 0 <= facts["auc"] <= 1
    assert path.stat().st_size < 2e6
    assert all(not v.is_floating_point() or v.dtype == torch.float16 for v in state.values())
    loss = HeadID.create(HeadIDConfig(network="b", weights=path))
    assert loss.network(torch.zeros(1, 3, 128, 128)).shape == (1, 128)
    again = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert again.exit_code == 0 and "going on from" in again.output
    other = CliRunner().invoke(main, [*arguments, "--judged", "6"])
    assert other.exit_code == 1 and "of another plan" in other.output


@pytest.mark.parametrize("batch", ["64", "64x", "64x4x1", "0x4", "axb"])
def test_a_batch_of_no_two_numbers_is_a_usage_error(tmp_path, batch):
    arguments = ["--network", "a", "--out", str(tmp_path), "--batch", batch]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and f"{batch}: expected people x pictures" in done.output
