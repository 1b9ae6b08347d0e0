"""`3dinv eval`: the numbers of the run again, and of other captures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from inv3d.commands.eval import command
from tests.commands.run_case import answer, call, fault, good, imports_nothing_heavy, make_run
from tests.toy_runs import toy_case, toy_registered, write_capture

TIMES = ("seconds", "warnings")


@pytest.fixture(autouse=True)
def toy_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with toy_registered(monkeypatch):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("eval"), latents=4, motion=0.4, error=0.1)


def stored(run: Path) -> dict:
    metrics = json.loads((run / "metrics.json").read_text())
    return {name: value for name, value in metrics.items() if name not in TIMES}


def test_the_numbers_are_exactly_those_of_the_run(run: Path) -> None:
    measured = answer(command, run, "--device", "cpu")
    assert {name: value for name, value in measured.items() if name not in TIMES} == stored(run)
    assert measured["rotation"]["mse"] > 0


def test_save_writes_them_back(run: Path) -> None:
    before = stored(run)
    (run / "metrics.json").unlink()
    good(command, run, "--save", "--device", "cpu")
    assert stored(run) == before
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["seconds"]["tuning"] == 2.0


def test_nothing_is_written_otherwise(run: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    good(command, run)
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_the_table_has_every_part_and_the_reasons(run: Path) -> None:
    text = good(command, run)
    for word in ("Front view (view003.png)", "Rotation", "Chosen", "Held-out", "PSNR", "Depth"):
        assert word in text
    assert "note: Perceptual: the generator names no such metric" in text


def test_another_capture_is_held_out_as_a_whole(run: Path, tmp_path: Path) -> None:
    other = write_capture(toy_case(5, motion=0.4).capture, tmp_path / "other")
    metrics = answer(command, run, "--input", other)
    assert metrics["views"] == {"all": 5, "chosen": 0, "held_out": 5}
    assert metrics["chosen"]["mse"] is None
    assert metrics["held_out"]["mse"] == metrics["rotation"]["mse"]


def test_a_capture_that_changed_is_measured_only_on_demand(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    other = toy_case(judges={}, motion=1.0)
    shutil.rmtree(tmp_path / "capture")
    write_capture(other.capture, tmp_path / "capture")
    said = fault(command, run)
    assert (
        f"{tmp_path / 'capture'}: its images, labels or masks aren't those that {run} was" in said
    )
    assert said.endswith("or give the capture to measure against with --input PATH")
    assert said == fault(command, run, "--save")
    assert answer(command, run, "--input", tmp_path / "capture")["views"]["held_out"] == 7
    (tmp_path / "capture" / "view003.png").unlink()
    assert "no longer has view003.png, which" in fault(command, run)
    (tmp_path / "capture").rename(tmp_path / "elsewhere")
    said = fault(command, run)
    assert said.startswith(
        f"{run}: its capture {tmp_path / 'capture'} isn't there; put it back, or "
    )
    assert said.endswith("give the capture to measure against with --input PATH")
    assert answer(command, run, "--input", tmp_path / "elsewhere")["views"]["held_out"] == 6


def test_refusals(run: Path, tmp_path: Path) -> None:
    assert "no such folder or zip" in fault(command, run, "--input", tmp_path / "none")
    assert "leave --input out" in fault(command, run, "--input", "x", "--save")
    assert "no such directory" in fault(command, tmp_path / "none")
    assert call(command).exit_code == 2


def test_import_is_light() -> None:
    assert imports_nothing_heavy("inv3d.commands.eval")


def test_further_losses_measure_on_demand(run: Path) -> None:
    measured = answer(command, run, "--metric", "soft=l1?resolution=8", "--device", "cpu")
    (column,) = [c for c in measured["columns"] if c["key"] == "soft"]
    assert column["better"] == "lower"
    assert 0 < measured["rotation"]["soft"] < measured["rotation"]["psnr"]
    assert measured["names"]["soft"] == "l1?resolution=8"
    assert "soft" not in stored(run)["names"]
    replaced = answer(command, run, "--metric", "perceptual=mse", "--device", "cpu")
    assert replaced["rotation"]["perceptual"] == pytest.approx(replaced["rotation"]["mse"])


def test_a_metric_that_is_misspelt_is_one_line(run: Path) -> None:
    result = call(command, run, "--metric", "soft")
    assert result.exit_code == 2 and "'soft': expected ROLE=LOSS" in result.output
    twice = call(command, run, "--metric", "soft=mse", "--metric", "soft=l1")
    assert twice.exit_code == 2 and "the role 'soft' is given twice" in twice.output
    assert "unknown loss 'l2'; did you mean 'l1'" in fault(command, run, "--metric", "soft=l2")
