"""`3dinv run --method poseopt` on pictures without cameras: what comes out, and bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from inv3d.cli import main
from inv3d.core.inversion import Inversion
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.captures import files_of, png, write
from tests.commands.run_cli import fails, record, registered, run

VIEWS = toy_capture(ToyGenerator(ToyConfig()), 3, yaw_deg=30)
QUICK = (
    *("--method", "poseopt", "--set", "starts.steps=2", "--set", "starts.yaws=5"),
    *("--set", "latent.steps=3", "--set", "latent.samples=50", "--set", "tuning.steps=2"),
    *("--out", "run", "--input", "c"),
)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    yield from registered(monkeypatch)


def pictures() -> dict[str, bytes]:
    files = files_of(VIEWS)
    return {name: data for name, data in files.items() if name.startswith("view")}


def test_the_found_camera_is_the_results_and_can_be_written(tmp_path: Path) -> None:
    write(pictures(), tmp_path / "c")
    done = run(*QUICK)
    assert done.exit_code == 0, done.stderr
    warnings = record(tmp_path / "run")["warnings"]
    assert any(
        "an estimator with weights for this generator would be better" in w for w in warnings
    )
    page = (tmp_path / "run/report.html").read_text()
    assert "Poses that were tried" in page and "starts within" in page
    found = Inversion.load(tmp_path / "run")
    (name,) = found.poses
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["views"]["chosen"] == 1
    told = CliRunner().invoke(
        main, ["export", "run", "-o", "m.ply", "--cameras", "cams", "--device", "cpu"]
    )
    assert told.exit_code == 0, told.output
    labels = dict(json.loads((tmp_path / "cams/dataset.json").read_text())["labels"])
    torch.testing.assert_close(torch.tensor(labels[name]), found.poses[name])


def test_a_smaller_picture_is_enlarged_and_said(tmp_path: Path) -> None:
    write(pictures(), tmp_path / "c")
    for path in (tmp_path / "c").glob("*.png"):
        with Image.open(path) as image:
            small = image.resize((16, 16))
        small.save(path)
    done = run(*QUICK, "--no-report")
    assert done.exit_code == 0, done.stderr
    assert "16 pixels, enlarged to 32" in done.stderr


def test_a_black_mask_is_refused_where_it_is_used(tmp_path: Path) -> None:
    black = {f"masks/{n}": png(np.zeros((32, 32), np.uint8)) for n in VIEWS.names}
    write(pictures() | black, tmp_path / "c")
    result = run(*QUICK, "--no-report", "--set", "losses.mse.mask=true")
    fails(result, 2, "the mask is black all over")
    assert not (tmp_path / "run").exists()


def test_a_blank_picture_is_refused(tmp_path: Path) -> None:
    grey = png(np.full((32, 32, 3), 90, np.uint8))
    write({"me.png": grey}, tmp_path / "c")
    result = run(*QUICK, "--no-report")
    fails(result, 2, "me.png of c: is of one colour all over")
    assert not (tmp_path / "run").exists()
