"""Which files of method and losses a run depends on, and that a changed one is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from inv3d.core.config import PluginConfig, build_config
from inv3d.core.errors import ConfigError, PluginError, RunError
from inv3d.core.files import file_digest
from inv3d.core.fit.options import FitConfig, SingleLatentConfig
from inv3d.core.inverter import Inverter
from inv3d.core.plugin import Plugin
from inv3d.core.weights.known import WeightFile
from inv3d.runs.used_files import check_unchanged, used_files

KNOWN = WeightFile(name="encoder.pt", purpose="encoder", licence="MIT", page="https://e.org")


class Start(PluginConfig):
    network: Path | None = None
    folder: Path | None = None


class EncoderConfig(PluginConfig):
    weights: Path | None = None
    start: Start = Start()
    handed_on: dict[str, Any] = Field(default_factory=dict)


class Encoder(Inverter):
    name = "encoder"
    api = "1.0"
    Config = EncoderConfig
    weights = (KNOWN,)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights in the folder for weights, and some files besides."""
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    for name in ("encoder.pt", "model_ir_se50.pth", "vgg16-397923af.pth"):
        (tmp_path / "weights" / name).write_text(name)
    for name in ("mine.pt", "start.pt", "other.pt"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(
    kind: type[Plugin], config: PluginConfig, folder: Path, defaults: dict[str, float] | None = None
) -> set[str]:
    files = used_files(kind, config, defaults or {})
    assert all(file_digest(Path(path)) == digest for path, digest in files.items())
    return {str(Path(path).relative_to(folder)) for path in files}


def test_files_that_options_name(folder: Path) -> None:
    config = EncoderConfig(
        weights=Path("mine.pt"),
        start=Start(network=folder / "start.pt", folder=folder),
        handed_on={"weights": "other.pt", "mode": "mine.pt", "deeper": {"weights": "none.pt"}},
    )
    assert found(Encoder, config, folder) == {"mine.pt", "start.pt", "other.pt"}


def test_known_files_are_used_where_no_option_names_one(folder: Path) -> None:
    assert found(Encoder, EncoderConfig(), folder) == {"weights/encoder.pt"}
    (folder / "weights" / "encoder.pt").unlink()
    assert found(Encoder, EncoderConfig(), folder) == set()


def losses(**options: Any) -> FitConfig:
    return build_config(SingleLatentConfig, options, "method test")


def test_files_of_losses_that_take_part(folder: Path) -> None:
    def of(**options: Any) -> set[str]:
        return found(Inverter, losses(**options), folder, {"arcface": 0.5, "mse": 1.0})

    arcface, lpips = "weights/model_ir_se50.pth", "weights/vgg16-397923af.pth"
    assert of() == {arcface}
    assert of(default_losses=False) == set()
    assert of(losses={"arcface": 0}) == set()
    assert of(losses={"lpips": 1}) == {arcface, lpips}
    assert of(latent={"losses": {"lpips": 1}}) == {arcface, lpips}
    assert of(latent={"losses": {"lpips": 0}}) == {arcface}
    assert of(losses={"arcface": {"weights": "mine.pt"}}) == {"mine.pt"}


def test_losses_of_a_method_that_options_are_handed_on_to(folder: Path) -> None:
    handed_on = {"latent": {"losses": {"arcface": {"weight": 1, "weights": "mine.pt"}}}}
    config = EncoderConfig(handed_on=handed_on)
    assert found(Inverter, config, folder) == {"mine.pt"}


def test_a_loss_that_cant_be_is_said() -> None:
    with pytest.raises(PluginError, match="unknown loss 'arcfase'; did you mean 'arcface'"):
        used_files(Inverter, losses(losses={"arcfase": 1}), {})
    with pytest.raises(ConfigError, match="unknown option 'weigths' of loss arcface"):
        used_files(Inverter, losses(losses={"arcface": {"weigths": "a"}}), {})


def test_a_changed_file_is_refused_and_a_moved_one_is_not(folder: Path) -> None:
    before = used_files(Encoder, EncoderConfig(weights=Path("mine.pt")), {})
    (folder / "mine.pt").rename(folder / "moved.pt")
    check_unchanged(before, used_files(Encoder, EncoderConfig(weights=Path("moved.pt")), {}))
    message = r"mine\.pt: isn't what the run began with; put it back, or start again"
    with pytest.raises(RunError, match=message):
        check_unchanged(before, used_files(Encoder, EncoderConfig(weights=Path("mine.pt")), {}))
    (folder / "mine.pt").write_text("changed")
    with pytest.raises(RunError, match=message):
        check_unchanged(before, used_files(Encoder, EncoderConfig(weights=Path("mine.pt")), {}))


def test_a_file_that_was_fetched_since_is_no_change(folder: Path) -> None:
    (folder / "weights" / "encoder.pt").rename(folder / "away.pt")
    before = used_files(Encoder, EncoderConfig(), {})
    (folder / "away.pt").rename(folder / "weights" / "encoder.pt")
    check_unchanged(before, used_files(Encoder, EncoderConfig(), {}))


def test_of_a_training_the_networks_count(folder: Path) -> None:
    (folder / "training").mkdir()
    (folder / "training" / "trained.safetensors").write_text("networks")
    (folder / "training" / "steps.jsonl").write_text("{}")
    config = build_config(EncoderConfig, {"weights": "training"}, "")
    assert found(Encoder, config, folder) == {"training/trained.safetensors"}
