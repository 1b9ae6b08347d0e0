"""What is measured of a trained generator: the truth itself is perfect, nothing is nothing."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from inv3d.core.capture import Capture
from tools.minihead.evaluate import (
    CHANGES,
    LOOKS,
    inner_sharpness,
    linear_probe,
    log,
    on_face,
    photograph,
    psnr,
)
from tools.minihead.heads import Heads
from tools.minihead.layout import NAMES, Z_DIM
from tools.minihead.seeds import EVALUATION, z_of_seed


@pytest.fixture(scope="module")
def truth() -> Capture:
    return photograph(Heads().build(z_of_seed(EVALUATION.start)[None]), list(LOOKS), 64)


def test_the_face_is_seen_from_the_front_alone(truth: Capture) -> None:
    share = on_face(truth).float().mean((1, 2, 3))
    assert share.shape == (len(LOOKS),)
    assert share[4] < 0.003  # from behind
    assert share[2] == share.max() and 0.05 < share[2] < 0.3
    assert truth.masks is not None
    assert not (on_face(truth) & (truth.masks == 0)).any()


def test_sharpness_is_relative_to_the_truth(truth: Capture) -> None:
    assert inner_sharpness(truth.images, truth) == pytest.approx(1.0)
    grey = truth.images * 0.5
    assert inner_sharpness(grey, truth) == pytest.approx(0.5, abs=1e-4)
    soft = torch.nn.functional.avg_pool2d(truth.images, 3, 1, 1)
    assert 0.2 < inner_sharpness(soft, truth) < 0.9


def test_psnr_of_known_errors(truth: Capture) -> None:
    flat = torch.zeros(2, 3, 4, 4)
    torch.testing.assert_close(psnr(flat + 0.2, flat), torch.full((2,), 20.0))


def test_all_changes_are_numbers_of_z() -> None:
    assert set(CHANGES) <= set(NAMES)
    assert all(low < high for low, high in CHANGES.values())


def test_a_log_grows_by_rows(tmp_path: Path) -> None:
    numbers = {
        "steps": 5,
        "from_z": {"psnr": 20.123456},
        "shares": {"blink": {"share": 0.5, "residual": 1.0}},
    }
    for steps in (5, 10):
        log(tmp_path / "quality.csv", {**numbers, "steps": steps})
    rows = list(csv.DictReader((tmp_path / "quality.csv").open()))
    assert [row["steps"] for row in rows] == ["5", "10"]
    assert rows[0]["psnr"] == "20.1235" and rows[0]["blink"] == "0.5"


def test_a_linear_probe_tells_what_w_shows_and_what_it_hides() -> None:
    class Shown:
        """w is the first half of z."""

        spec = SimpleNamespace(z_dim=Z_DIM)

        def map(self, z: torch.Tensor) -> torch.Tensor:
            return z[:, None, : NAMES["blush"].start]

    found = linear_probe(Shown(), samples=4000)  # type: ignore[arg-type]
    assert found["shape0"] > 0.999 and found["weight"] > 0.9
    assert found["gaze_x"] < 0.1 and found["light0"] < 0.1
