"""Options and contract of trainings, and the record of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from inv3d.core.errors import MismatchError, WeightsError
from inv3d.core.trained import FILE, Trained, find_trained, is_trained
from inv3d.core.training_options import TrainingConfig
from inv3d.core.weights import known
from inv3d.core.weights.tensors import write_tensors
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.train.toy_encoder import ToyPose

OPTION = "--set weights=PATH"


def _trained(generator: ToyGenerator, plugin: str = "toyenc") -> Trained:
    return Trained(
        plugin,
        "toy",
        generator.spec.fingerprint,
        {"weight": torch.ones(3, 2), "bias": torch.zeros(3)},
        torch.zeros(1, 8),
        options={"width": 8},
        training={"steps": 12},
        steps=12,
        facts={"command": "3dinv train toyenc"},
    )


def test_the_rate_rises_stays_and_falls() -> None:
    training = TrainingConfig(steps=100, warmup=10, cooldown=0.2)
    rates = [training.rate(step) for step in (0, 4, 9, 50, 79, 90, 99)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0062], abs=1e-3)
    assert {TrainingConfig().rate(step) for step in (0, 99_999)} == {1.0}


def test_cameras_of_generated_pictures_stay_within_their_ranges() -> None:
    spec, rng = ToyGenerator(ToyConfig()).spec, torch.Generator().manual_seed(0)
    pose = ToyPose(ToyPose.Config())
    camera = pose.cameras(spec, TrainingConfig(yaw_deg=20, pitch_deg=0), 200, rng)
    assert 18 < float(camera.yaw.rad2deg().abs().max()) <= 20.001
    assert float(camera.pitch.abs().max()) < 1e-5
    everywhere = pose.cameras(spec, TrainingConfig(), 200, rng)
    assert 85 < float(everywhere.yaw.rad2deg().abs().max()) <= 90.001


def test_a_training_is_kept_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    _trained(generator).save(tmp_path / FILE)
    found, place = find_trained("toyenc", generator, tmp_path, OPTION)  # the directory will do
    assert place == tmp_path and (found.plugin, found.generator, found.steps) == (
        "toyenc",
        "toy",
        12,
    )
    assert found.training == {"steps": 12} and found.options == {"width": 8}
    assert found.facts["command"] == "3dinv train toyenc"
    assert found.latent_avg is not None and found.latent_avg.shape == (1, 8)
    network = nn.Linear(2, 3)
    found.load_into(network, place)
    assert torch.equal(network.weight, torch.ones(3, 2))
    with pytest.raises(MismatchError, match="weights of another architecture"):
        found.load_into(nn.Linear(5, 3), place)


def test_a_training_for_another_generator_names_both(tmp_path: Path) -> None:
    mine, other = ToyGenerator(ToyConfig()), ToyGenerator(ToyConfig(seed=1))
    _trained(mine).save(tmp_path / "x.safetensors")
    with pytest.raises(WeightsError) as caught:
        find_trained("toyenc", other, tmp_path / "x.safetensors", OPTION)
    text = str(caught.value)
    assert mine.spec.fingerprint in text and other.spec.fingerprint in text
    assert "3dinv train toyenc --generator toy -o toyenc-toy" in text and "\n" not in text


def test_without_networks_the_message_says_how_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(known.DIRECTORY, str(tmp_path))
    generator, other = ToyGenerator(ToyConfig()), ToyGenerator(ToyConfig(seed=1))
    expected = "toyenc: no trained networks for generator toy.*3dinv train toyenc.*give --set"
    with pytest.raises(WeightsError, match=expected):
        find_trained("toyenc", generator, None, OPTION)
    _trained(other).save(tmp_path / "toyenc-toy.safetensors")
    with pytest.raises(WeightsError, match=f"is for {other.spec.fingerprint}"):
        find_trained("toyenc", generator, None, OPTION)
    assert find_trained("toyenc", other, None, OPTION)[0].steps == 12


def test_what_a_training_wrote_is_told_by_its_contents(tmp_path: Path) -> None:
    _trained(ToyGenerator(ToyConfig())).save(tmp_path / "mine.pt")
    write_tensors(tmp_path / "directions.st", {"x": torch.zeros(1)}, {"kind": "directions"})
    write_tensors(tmp_path / "others.safetensors", {"x": torch.zeros(1)}, {})
    torch.save({"x": torch.zeros(1)}, tmp_path / "others.pt")
    assert {path.name for path in tmp_path.iterdir() if is_trained(path)} == {
        "mine.pt",
        "directions.st",
    }
    assert is_trained(tmp_path)
    with pytest.raises(WeightsError, match="no such file"):
        is_trained(tmp_path / "none.safetensors")


def test_a_folder_that_no_training_wrote_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is a folder without trained\.safetensors; give one"):
        find_trained("toyenc", ToyGenerator(ToyConfig()), tmp_path, OPTION)


def test_files_of_other_kinds_and_plugins_are_refused(tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    write_tensors(tmp_path / "x.safetensors", {"x": torch.zeros(1)}, {"kind": "directions"})
    with pytest.raises(WeightsError, match=r"x\.safetensors: holds no trained networks"):
        Trained.load(tmp_path / "x.safetensors")
    _trained(generator, "other").save(tmp_path / "y.safetensors")
    with pytest.raises(WeightsError, match="networks of other, expected those of toyenc"):
        find_trained("toyenc", generator, tmp_path / "y.safetensors", OPTION)
