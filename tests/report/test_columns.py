"""Metrics of plugins: a loss under a role of its own becomes a column wherever metrics are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inv3d.commands.compare import command as compare
from inv3d.core.registry.discovery import registry
from inv3d.report.columns import FRAME_COLUMNS, RUN_COLUMNS, Column, frame_columns, united
from inv3d.report.metrics import build_judges, evaluate
from inv3d.report.tables import judges_said, metric_labels, metric_rows
from tests.commands.run_case import answer, good
from tests.report.judges import PLUGINS
from tests.toy_runs import (
    CPU,
    JUDGES,
    PLUGIN,
    Case,
    finish,
    toy_case,
    write_capture,
    write_run,
)

FURTHER = {**JUDGES, "expression": "likeness?most=10", "mean_colour": "offset"}


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", f"{PLUGIN},{PLUGINS}")
    registry.cache_clear()
    yield
    registry.cache_clear()


def metrics_of(case: Case) -> dict[str, Any]:
    return evaluate(case.generator, case.inversion, case.capture, case.chosen, case.held_out, CPU)


def finished(folder: Path, name: str, **options: Any) -> Path:
    case = toy_case(3, **options)
    source = folder / "capture"
    if not source.exists():
        write_capture(case.capture, source)
    directory = write_run(case, folder / name, source)
    finish(case, directory, source)
    return directory


def test_built_in_metrics_describe_themselves() -> None:
    metrics = metrics_of(toy_case(3))
    assert frame_columns(metrics) == FRAME_COLUMNS
    assert metrics["columns"][0] == {
        "key": "mse",
        "label": "MSE",
        "better": "lower",
        "digits": 4,
        "unit": "of values in [-1, 1]",
    }
    assert [row["key"] for row in metrics["run_columns"]] == [c.key for c in RUN_COLUMNS]


def test_a_further_loss_is_measured_and_described_by_itself() -> None:
    metrics = metrics_of(toy_case(3, judges=FURTHER))
    further = frame_columns(metrics)[len(FRAME_COLUMNS) :]
    assert further == (
        Column("expression", "Likeness", "higher", 1, "points"),
        Column("mean_colour", "Mean colour", "lower", 4, ""),
    )
    assert metrics["rotation"]["expression"] == pytest.approx(10, abs=1e-3)
    assert metrics["rotation"]["mean_colour"] == pytest.approx(0, abs=1e-4)
    assert all(row["expression"] == pytest.approx(10, abs=1e-3) for row in metrics["per_frame"])
    worse = metrics_of(toy_case(3, judges=FURTHER, error=0.3))
    assert worse["rotation"]["expression"] < metrics["rotation"]["expression"]


def test_the_built_in_metrics_do_not_change_beside_it() -> None:
    plain, further = (metrics_of(toy_case(3, judges=j, error=0.1)) for j in (JUDGES, FURTHER))
    for group in ("front", "rotation", "chosen", "held_out"):
        assert further[group] | plain[group] == further[group]


def test_tables_have_a_column_of_it() -> None:
    metrics = metrics_of(toy_case(3, judges=FURTHER))
    labels = metric_labels(metrics)
    assert labels[-2:] == ["Likeness ↑", "Mean colour ↓"]
    assert judges_said(metrics)[-2:] == ["Likeness is likeness (most=10)", "Mean colour is offset"]
    for _, cells in metric_rows(metrics):
        assert len(cells) == len(labels)
        assert cells[-2] == "10.0"


def test_two_metrics_of_one_label_are_told_apart() -> None:
    judges = {"expression": "likeness", "gaze": "likeness?most=2"}
    metrics = metrics_of(toy_case(3, judges=judges))
    assert [c.label for c in frame_columns(metrics)][-2:] == ["Likeness", "Likeness (gaze)"]


@pytest.mark.parametrize(
    ("role", "loss", "reason"),
    [
        ("psnr", "offset", "'psnr' is a metric or a fact already; give the role another name"),
        ("yaw_deg", "offset", "'yaw_deg' is a metric or a fact already"),
        ("expression", "deep", "reads image, depth, but metrics compare images alone"),
        ("expression", "w_norm", "reads no image, but metrics compare images alone"),
        ("expression", "nosuch", "unknown loss 'nosuch'"),
        ("soft", "l1?mask=true", "option 'mask' of loss l1: reads the map 'mask', but metrics"),
        ("soft", "symmetry", "option 'uncertainty' of loss symmetry: reads the map 'uncertainty'"),
        ("identity", "likeness", "higher is better, but 'identity' takes a distance"),
    ],
)
def test_a_loss_that_cannot_serve_is_a_note(role: str, loss: str, reason: str) -> None:
    judges, notes = build_judges({role: loss}, CPU)
    assert role not in judges
    assert notes[role].startswith(f"{loss}: ")
    assert reason in notes[role]


def test_a_loss_that_cannot_serve_leaves_the_other_numbers_as_they_are() -> None:
    unfit = {"psnr": "offset", "expression": "deep", "soft": "l1?mask=true"}
    metrics = metrics_of(toy_case(3, judges={**JUDGES, **unfit}))
    assert frame_columns(metrics) == FRAME_COLUMNS
    assert metrics["rotation"] == metrics_of(toy_case(3))["rotation"]


def test_files_and_pages_show_it_without_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good_run = finished(tmp_path, "good", judges=FURTHER, error=0.1)
    rough = finished(tmp_path, "rough", judges=FURTHER, error=0.5)
    plain = finished(tmp_path, "plain")
    assert json.loads((good_run / "metrics.json").read_text())["columns"][-2]["key"] == "expression"
    page = (good_run / "report.html").read_text()
    assert "<span>Likeness ↑</span>" in page
    assert "Likeness against the angle" in page
    assert "<th>Likeness ↑</th>" in page
    assert "Likeness is likeness (most=10)" in page

    monkeypatch.setenv("INV3D_PLUGINS", PLUGIN)
    registry.cache_clear()
    runs = (plain, good_run, rough)
    records = answer(compare, *runs)
    assert records[0]["rotation_expression"] is None
    assert records[1]["rotation_expression"] > records[2]["rotation_expression"]
    rows = list(csv.DictReader(io.StringIO(good(compare, *runs, "--csv"))))
    assert [row["rotation_expression"] != "" for row in rows] == [False, True, True]
    text = good(compare, *runs, "--html", tmp_path / "a.html")
    assert "Likeness ↑" in text
    assert "<th>Likeness ↑</th>" in (tmp_path / "a.html").read_text()


def test_the_better_way_is_the_losss_own(tmp_path: Path) -> None:
    best = finished(tmp_path, "best", judges=FURTHER, error=0.1)
    rough = finished(tmp_path, "rough", judges=FURTHER, error=0.9)
    good(compare, best, rough, "--html", tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    value = json.loads((best / "metrics.json").read_text())["rotation"]["expression"]
    assert f'<td class="best">{value:.1f}</td>' in page


def test_columns_of_several_runs_keep_their_order() -> None:
    first, second = Column("a", "A", "lower", 1), Column("b", "B", "lower", 1)
    third = Column("c", "C", "higher", 2)
    assert united([(first, third), (first, second)]) == (first, third, second)
