"""The evaluation of methods for one picture, on the toy generator."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from benchmarks import single_photo
from benchmarks.around import frechet
from benchmarks.single_photo import (
    OFFSETS,
    Variant,
    all_around,
    by_visibility,
    cases,
    given,
    table,
    view_at,
)
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.captures import files_of, write
from tests.commands.run_cli import registered

HEAD = toy_capture(ToyGenerator(ToyConfig()), 17, yaw_deg=80)
GIVEN = ToyGenerator(ToyConfig()).spec.camera
QUICK = {"latent": {"steps": 2, "samples": 20}}
SEARCH = {
    "pose": {"estimator": "none"},
    "starts": {"steps": 1, "yaws": 3, "pitches": 1},
    "tuning": {"steps": 1},
    **QUICK,
}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    variants = {
        "wplus": Variant("wplus", QUICK),
        "wplus-off10": Variant("wplus", QUICK, off_deg=10.0),
        "poseopt": Variant("poseopt", SEARCH, posed=False),
    }
    monkeypatch.setattr(single_photo, "VARIANTS", variants)
    yield from registered(monkeypatch)


def test_what_a_method_is_given() -> None:
    row = view_at(HEAD, 0.5)
    assert float(HEAD.camera.yaw[row]) == pytest.approx(0.5, abs=0.1)
    view = given(HEAD, row, Variant("wplus"))
    assert len(view) == 1 and torch.equal(view.camera.labels(), HEAD.camera.labels()[[row]])
    assert given(HEAD, row, Variant("poseopt", posed=False)).cameras is None
    off = given(HEAD, row, Variant("wplus", off_deg=10.0))
    turned = float(off.camera.yaw - view.camera.yaw)
    assert math.degrees(turned) == pytest.approx(10, abs=0.1)


def test_views_lie_to_the_camera_that_was_found() -> None:
    row = view_at(HEAD, 0.5)
    true, found = HEAD.camera[row], GIVEN.orbit(torch.tensor([0.7]))
    views = single_photo.seen_from(found, true, HEAD.camera)
    torch.testing.assert_close(views[row].cam2world, found.cam2world, atol=1e-5, rtol=0)
    torch.testing.assert_close(views.yaw, HEAD.camera.yaw + 0.7 - true.yaw, atol=1e-4, rtol=0)


def test_errors_are_told_apart_by_what_the_picture_shows() -> None:
    rows = [view_at(HEAD, offset) for offset in OFFSETS]
    views = HEAD.images[rows]
    same = by_visibility(HEAD, rows, views)
    assert same == {"mse_seen": 0.0, "mse_unseen": 0.0}
    wrong = by_visibility(HEAD, rows, views + 0.5)
    assert wrong["mse_seen"] == pytest.approx(0.25) and wrong["mse_unseen"] == pytest.approx(0.25)


def test_rows_are_measured_once_and_make_a_table(tmp_path: Path) -> None:
    source = write(files_of(HEAD), tmp_path / "head")
    out = tmp_path / "out"
    command = ["run", str(out), "--capture", str(source), "--generator", "toy"]
    command += ["--method", "wplus", "--method", "wplus-off10", "--method", "poseopt"]
    command += ["--around", str(source.parent)]
    first = CliRunner().invoke(single_photo.main, command)
    assert first.exit_code == 0, first.output
    assert first.output.count("head") == 3
    assert CliRunner().invoke(single_photo.main, command).output == ""
    names = sorted(path.stem for path in out.glob("*.json"))
    assert names == ["poseopt-head-+0", "wplus-head-+0", "wplus-off10-head-+0"]
    assert all((out / f"{name}.png").exists() for name in names)
    row = json.loads((out / "wplus-head-+0.json").read_text())
    assert row["pose_deg"] < 0.1 and {"mse@+0.0", "mse@-0.8", "seconds"} <= set(row)
    off = json.loads((out / "wplus-off10-head-+0.json").read_text())
    assert off["pose_deg"] == pytest.approx(10, abs=0.1)
    told = CliRunner().invoke(single_photo.main, ["table", str(out)])
    distances = all_around(out)
    assert distances.keys() == {"wplus", "wplus-off10", "poseopt"} and min(distances.values()) > 0
    assert f"{distances['wplus']:.3f} |" in told.output
    assert "| wplus | 1 |" in told.output and "poseopt: median poseopt-head-+0.png" in told.output


def test_median_and_worst_case() -> None:
    rows = [
        {"variant": "wplus", "name": f"{k}", **{f"mse@{o:+.1f}": k * 1.0 for o in OFFSETS}}
        for k in (3, 1, 2)
    ]
    assert cases(rows) == {"wplus": ("2", "3")}
    assert "2.0000" in table(rows)


def test_frechet_is_that_of_gaussians() -> None:
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(400, 3, generator=rng)
    assert frechet(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet(first, first + torch.tensor([1.0, 2, 0])) == pytest.approx(5, rel=1e-5)
    # of covariances that commute: the squared differences of the deviations
    deviations = first.std(0).double()
    assert frechet(first, 3 * first) == pytest.approx(
        float((2 * deviations).square().sum() + (2 * first.double().mean(0)).square().sum()),
        rel=1e-4,
    )


def test_a_training_is_a_variant_of_its_own() -> None:
    assert single_photo.variant_of("wplus") == Variant("wplus", QUICK)
    assert single_photo.variant_of("e4e=out/mine") == Variant("e4e", {"weights": "out/mine"})
    assert single_photo.name_of("a/head.zip", 15, "e4e=out/mine") == "e4e.mine-head-+15"
    with pytest.raises(click.UsageError, match="--method e5e: expected one of wplus, "):
        single_photo.variant_of("e5e")
    rows = [{"variant": name} for name in ("e4e=out/mine", "poseopt", "wplus", "wplus")]
    assert single_photo.variants_in(rows) == ["wplus", "poseopt", "e4e=out/mine"]
