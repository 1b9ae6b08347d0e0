"""--camera auto: cameras of a capture that has none, for every method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from inv3d.cli import main
from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.errors import (
    ConfigError,
    InputError,
    InvError,
    PluginError,
    UnsupportedError,
    WeightsError,
)
from inv3d.core.estimator import Estimator, find_estimator
from inv3d.core.generator import Generator
from inv3d.runs.prepare import PreparedRun, Request, prepare, prepare_again
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.captures import files_of, write
from tests.commands.run_cli import QUICK, record, registered, run

TRUE = toy_capture(ToyGenerator(ToyConfig()), 5)
HERE = __name__


class Reader(Estimator[PluginConfig]):
    """It knows the pictures of one capture."""

    name = "reader"
    api = "1.0"

    def estimate(self, images: Tensor, generator: Generator) -> Camera:
        apart = (images[:, None] - TRUE.images[None].to(images)).square().mean((2, 3, 4))
        return TRUE.camera.to(images.device, images.dtype)[apart.argmin(1)]


class Foreign(Reader):
    """Trained for another generator."""

    name = "foreign"
    of_generator = True

    def get_ready(self, generator: Generator) -> None:
        raise WeightsError(f"foreign: was trained for 1234, not for {generator.spec.fingerprint}")


class Own(Reader):
    """Trained for this one."""

    name = "own"
    of_generator = True


READER, FOREIGN, OWN = (
    f"estimators:{kind.name}={HERE}:{kind.__name__}" for kind in (Reader, Foreign, Own)
)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from registered(monkeypatch, READER)


@pytest.fixture
def unposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = {n: data for n, data in files_of(TRUE).items() if not n.endswith(".json")}
    return write(files, tmp_path / "c")


def asked(folder: Path, method: str = "wplus", camera: str | None = "auto:reader") -> PreparedRun:
    given = Request(method, "toy", str(folder), device="cpu", views=3, camera=camera)
    return prepare(given)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("method", ["wplus", "pti", "multiview", "multilatent", "spi", "hfgi3d"])
def test_every_method_gets_cameras(unposed: Path, method: str) -> None:
    with pytest.raises(UnsupportedError, match="--camera auto"):
        asked(unposed, method, camera=None)
    prepared = asked(unposed, method)
    torch.testing.assert_close(
        prepared.capture.camera.labels(), TRUE.camera.labels()[: len(prepared.capture)]
    )
    assert any("what estimator reader tells" in notice for notice in prepared.notices)


@pytest.mark.usefixtures("plugins")
def test_views_are_chosen_by_the_angles_that_were_told(unposed: Path) -> None:
    prepared = asked(unposed, "multiview")
    chosen = prepared.capture.camera.yaw[list(prepared.plan.input.chosen)].rad2deg()
    assert sorted(round(float(y)) for y in chosen) == [-60, 0, 60]


@pytest.mark.usefixtures("plugins")
def test_a_run_that_goes_on_has_the_same_cameras(unposed: Path, tmp_path: Path) -> None:
    first = asked(unposed)
    plan = type(first.plan).model_validate_json(first.plan.model_dump_json())
    again = prepare_again(plan, tmp_path)
    assert torch.equal(again.capture.camera.labels(), first.capture.camera.labels())


@pytest.mark.usefixtures("plugins")
def test_a_whole_run_its_evaluation_and_its_cameras(unposed: Path, tmp_path: Path) -> None:
    done = run("--input", "c", *QUICK, "--camera", "auto:reader", "--out", "run", "--no-report")
    assert done.exit_code == 0, done.stderr
    assert "what estimator reader tells" in done.stderr
    assert len(record(tmp_path / "run")["input"]["cameras"]) == 5
    for command in (["eval", "run"], ["export", "run", "-o", "m.ply", "--cameras", "cams"]):
        told = CliRunner().invoke(main, [*command, "--device", "cpu"])
        assert told.exit_code == 0, told.output
    labels = dict(json.loads((tmp_path / "cams/dataset.json").read_text())["labels"])
    assert set(labels) == set(TRUE.names)
    torch.testing.assert_close(
        torch.tensor([labels[name] for name in TRUE.names]), TRUE.camera.labels()
    )


@pytest.mark.parametrize(
    ("camera", "error", "said"),
    [
        ("front", ConfigError, "--camera front: expected auto, or auto:ESTIMATOR"),
        ("auto:", ConfigError, "expected auto, or auto:ESTIMATOR"),
        ("auto:readr", PluginError, "did you mean 'reader'"),
    ],
)
@pytest.mark.usefixtures("plugins")
def test_what_camera_may_be(unposed: Path, camera: str, error: type[InvError], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        asked(unposed, camera=camera)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("plugins")
def test_a_capture_with_cameras_keeps_them(tmp_path: Path) -> None:
    posed = write(files_of(TRUE), tmp_path / "posed")
    with pytest.raises(InputError, match="has cameras; leave --camera out"):
        asked(posed)


def test_an_estimator_of_another_generator_is_refused(
    unposed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in registered(monkeypatch, FOREIGN):
        with pytest.raises(WeightsError, match="foreign: was trained for 1234"):
            asked(unposed, camera="auto:foreign")


def test_those_trained_for_the_generator_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = ToyGenerator(ToyConfig())
    for _ in registered(monkeypatch, READER, FOREIGN, OWN):
        assert find_estimator(generator, "it").name == "own"


def test_none_that_serves_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in registered(monkeypatch, FOREIGN):
        with pytest.raises(UnsupportedError, match="no pose estimator serves generator toy") as e:
            find_estimator(ToyGenerator(ToyConfig()), "--camera auto")
        for reason in ("foreign: was trained for 1234", "doesn't say where faces are"):
            assert reason in str(e.value)
        assert "\n" not in str(e.value)
