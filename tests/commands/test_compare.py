"""`3dinv compare`: one table, the best in bold, CSV, JSON, page and picture."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from inv3d.commands.compare import _shown, command
from inv3d.report import pictures
from inv3d.report.compare import read_runs, sections
from inv3d.report.tables import best
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.commands.run_case import answer, call, fault, good, imports_nothing_heavy, make_run
from tests.toy_runs import toy_registered


@pytest.fixture(autouse=True)
def toy_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with toy_registered(monkeypatch):
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("compare")
    return [
        make_run(folder, "single", error=0.4, motion=0.4),
        make_run(folder, "several", error=0.1, motion=0.4, latents=4),
        make_run(folder, "rough", error=0.2, motion=0.4, latents=4),
    ]


def test_json_has_one_flat_record_a_run(runs: list[Path]) -> None:
    records = answer(command, *runs)
    assert [record["run"] for record in records] == ["single", "several", "rough"]
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    record = records[1]
    assert record["method"] == "multilatent (fast)"
    assert record["views"] == 4
    assert record["held_out_mse"] == metrics["held_out"]["mse"]
    assert record["depth_consistency"] == metrics["depth_consistency"] > 0
    assert record["latent_distance"] == metrics["latent_distance"]
    assert record["seconds"] == 3.5


def test_one_latent_is_not_praised_for_consistency(runs: list[Path]) -> None:
    record = answer(command, *runs)[0]
    assert record["depth_consistency"] is None
    assert record["latent_distance"] is None


def test_csv_holds_the_same(runs: list[Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(good(command, *runs, "--csv"))))
    records = answer(command, *runs)
    assert [row["run"] for row in rows] == [record["run"] for record in records]
    assert float(rows[0]["rotation_mse"]) == records[0]["rotation_mse"]
    assert rows[0]["rotation_identity"] == ""


def test_the_best_of_every_column_is_marked(runs: list[Path]) -> None:
    parts = {part.title: part for part in sections(read_runs(runs))}
    records = answer(command, *runs)
    rotation = parts["Rotation"]
    for key, better in (("mse", min), ("psnr", max), ("depth_error", min)):
        column = [column.key for column in rotation.columns].index(key)
        values = [record[f"rotation_{key}"] for record in records]
        marks = [cells[column][1] for cells in rotation.cells]
        assert marks.index(True) == values.index(better(values))
        assert sum(marks) == 1
    identity = [column.key for column in rotation.columns].index("identity")
    assert not any(cells[identity][1] for cells in rotation.cells)


def test_ties_are_best_together() -> None:
    assert best([0.10001, 0.10002, 0.2, None], "lower", 3) == {0, 1}
    assert best([0.5, None], "lower", 3) == set()
    assert best([1.0, 3.0, 2.0], "higher", 2) == {1}


def test_the_table_names_runs_and_metrics(runs: list[Path]) -> None:
    text = good(command, *runs)
    for word in ("single", "several", "Front view", "Rotation", "Held-out", "Whole run", "MSE ↓"):
        assert word in text
    assert "4 (4 latents)" in text
    (line,) = [row for row in text.splitlines() if row.split()[:1] == ["several"] and "3.5" in row]
    assert "3.5*" in line


def test_the_table_fits_80_columns(runs: list[Path]) -> None:
    text = good(command, *runs)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("PSNR ↑") == 3


def test_runs_that_cannot_be_compared_have_no_best(runs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    record = json.loads((other / "run.json").read_text())
    record["input"]["path"] = "elsewhere"
    (other / "run.json").write_text(json.dumps(record))
    result = call(command, runs[0], other, "--html", tmp_path / "a.html")
    assert "differ in input" in result.stderr
    assert "none is marked as best" in result.stderr
    assert "*" not in result.stdout
    assert 'class="best"' not in (tmp_path / "a.html").read_text()
    assert "*" in good(command, *runs[:2])


def test_the_page_marks_the_best_and_escapes(runs: list[Path], tmp_path: Path) -> None:
    good(command, *runs, "--html", tmp_path / "a.html", "--picture", tmp_path / "a.png")
    page = (tmp_path / "a.html").read_text()
    assert page.count('<td class="best">') >= 8
    assert "<h2>Held-out frames</h2>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<img") == 1


def test_the_picture_has_a_row_of_targets_and_one_for_every_run(
    runs: list[Path], tmp_path: Path
) -> None:
    good(command, *runs, "--picture", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        width, height = picture.size
    assert width == 5 * 32 + 4 * 4
    assert height == 4 * (32 + 18) + 3 * 4


def test_the_target_says_whose_it_is_where_inputs_differ(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    labelled = pictures.labelled
    monkeypatch.setattr(
        pictures, "labelled", lambda frame, text: (said.append(text), labelled(frame, text))[1]
    )
    good(command, runs[0], runs[1], "--picture", tmp_path / "a.png")
    assert set(said) == {"target", runs[0].name, runs[1].name}
    good(command, runs[0], make_run(tmp_path, "other"), "--picture", tmp_path / "b.png")
    assert "target of single" in said


def test_frames_before_a_camera_that_stands_still_are_all_shown() -> None:
    capture = toy_capture(ToyGenerator(ToyConfig()), 9)
    front = capture.camera[[4]]
    assert _shown(capture.with_cameras(front.repeat_interleave(9))) == [0, 2, 4, 6, 8]
    assert _shown(capture.with_cameras(front.repeat_interleave(9))[[0, 1]]) == [0, 1]
    assert len(_shown(capture)) == 5


def test_a_picture_needs_the_capture_of_the_first_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, "single")
    (tmp_path / "capture").rename(tmp_path / "elsewhere")
    said = f"{run}: its capture {tmp_path / 'capture'} isn't there; put it back, or "
    assert fault(command, run, "--picture", tmp_path / "a.png") == f"{said}leave --picture out"


def test_different_inputs_are_a_warning(runs: list[Path], tmp_path: Path) -> None:
    other = make_run(tmp_path, "other", views=5)
    result = call(command, runs[0], other)
    assert result.exit_code == 0
    assert "single and other differ in input" in result.stderr
    assert "differ in number of frames" in result.stderr


def test_different_metrics_are_told_in_words(runs: list[Path], tmp_path: Path) -> None:
    other = make_run(tmp_path, "other")
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["names"] = {"perceptual": "headfeat", "identity": "headid"}
    (other / "metrics.json").write_text(json.dumps(metrics))
    said = call(command, runs[0], other).stderr
    assert "differ in metrics: " in said
    assert "identity headid, perceptual headfeat" in said
    assert "{" not in said


def test_refusals(runs: list[Path], tmp_path: Path) -> None:
    assert "no such directory" in fault(command, runs[0], tmp_path / "none")
    assert "one of --json and --csv" in fault(command, *runs, "--json", "--csv")
    assert "ends in .png" in fault(command, *runs, "--picture", tmp_path / "a.jpg")
    bare = make_run(tmp_path, "bare", views=5)
    (bare / "metrics.json").unlink()
    assert "3dinv eval" in fault(command, bare)
    assert call(command).exit_code == 2


def test_import_is_light() -> None:
    assert imports_nothing_heavy("inv3d.commands.compare")
