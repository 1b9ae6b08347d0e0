"""The page of a batch: spread, the worst first, failures by message, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inv3d.core.errors import RunError
from inv3d.report.batch import grouped, summary_page, throughput
from inv3d.report.columns import FRAME_COLUMNS, described
from inv3d.report.paired import batch_records, doubts, read_batches
from inv3d.report.pictures import save_png, tile
from inv3d.report.spread import Spread
from inv3d.rundir.batch import Row, add_row, is_batch, read_rows, run_of


def write_run(out: Path, name: str, psnr: float, identity: float | None, **more: Any) -> Path:
    """Write what tables read of a finished run."""
    directory = run_of(out, name)
    directory.mkdir(parents=True)
    record = {
        "method": {"name": "wplus", "options": {}},
        "generator": {"name": "toy"},
        "input": {"path": f"/data/{name}", "views": []},
        "status": "finished",
        **more,
    }
    mean = {column.key: None for column in FRAME_COLUMNS} | {"psnr": psnr, "identity": identity}
    metrics = {
        "columns": described(FRAME_COLUMNS),
        "run_columns": [],
        "names": {},
        "size": 32,
        "views": {"all": 3, "chosen": 1, "held_out": 2},
        "latents": 1,
        "front": {"name": "a.png", **mean},
        **dict.fromkeys(("chosen", "held_out", "rotation"), mean),
        "seconds": {"latent": 2.0, "metrics": 9.0},
        "per_frame": [],
    }
    (directory / "run.json").write_text(json.dumps(record))
    (directory / "metrics.json").write_text(json.dumps(metrics))
    return directory


def test_a_spread_is_mean_deviation_and_quartiles() -> None:
    spread = Spread.of([4.0, 1.0, 3.0, 2.0])
    assert spread is not None
    assert (spread.count, spread.mean, spread.low, spread.high) == (4, 2.5, 1.0, 4.0)
    assert (spread.quarter, spread.median, spread.three_quarters) == (1.75, 2.5, 3.25)
    assert spread.deviation == pytest.approx(np.std([1, 2, 3, 4], ddof=1))
    single = Spread.of([7.0])
    assert single is not None and single.deviation == 0.0 and Spread.of([]) is None


def test_failures_with_one_message_are_one() -> None:
    rows = [
        *(Row(f"head{i}", "failed", f"/data/head{i}/a.png: 0 bytes of {i}00") for i in range(9)),
        Row("x", "failed", "out of memory"),
    ]
    many, one = grouped(rows)
    assert (many.count, len(many.items), many.example) == (9, 8, rows[0].error)
    assert many.message == "…: N bytes of N" and (one.message, one.count) == ("out of memory", 1)


def test_the_throughput_is_that_of_workers_at_work() -> None:
    rows = [
        *(Row(f"a{i}", "done", seconds=10.0, worker="worker-0") for i in range(4)),
        *(Row(f"b{i}", "done", seconds=40.0, worker="worker-1") for i in range(2)),
        Row("c", "failed", seconds=1000.0, worker="worker-1"),
    ]
    assert throughput(rows) == [("0.12", "items a second, 2 workers")]
    assert throughput(rows[4:]) == [("90", "items an hour, 1 worker")]
    assert throughput(rows[6:]) == []


def test_the_worst_come_first_with_their_pictures(tmp_path: Path) -> None:
    for name, identity in (("good", 0.9), ("bad", 0.1), ("middle", 0.5)):
        directory = write_run(tmp_path, name, 20.0, identity)
        frames = [np.full((32, 32, 3), level, np.uint8) for level in (40, 90, 160)]
        sheet = tile([[frame] * 8 for frame in frames])
        save_png(directory / "previews/targets_vs_reconstructions.png", sheet)
    (run_of(tmp_path, "good") / "report.html").touch()
    add_row(tmp_path, Row("lost", "failed", "<b>no worker", "worker"))
    add_row(tmp_path, Row("gone", "failed", "not of this batch any more"))
    page = summary_page(tmp_path, ["good", "bad", "middle", "lost", "later"])
    cards = page[page.index("Worst cases") :]
    assert cards.index(">bad<") < cards.index(">middle<") < cards.index("good</a>")
    assert cards.count("data:image/jpeg;base64,") == 3
    assert 'href="runs/good/report.html"' in page and "runs/bad/report.html" not in page
    assert "1 × &lt;b&gt;no worker" in page and "not of this batch" not in page
    assert "<b>3</b><span>of 5 items done" in page and "<b>1</b><span>not done yet" in page


def test_an_item_without_the_number_comes_before_all(tmp_path: Path) -> None:
    write_run(tmp_path, "told", 20.0, 0.1)
    write_run(tmp_path, "untold", 20.0, None)
    page = summary_page(tmp_path, ["told", "untold"])
    cards = page[page.index("Worst cases") :]
    assert cards.index(">untold<") < cards.index(">told<")


def test_a_page_of_nothing_is_a_page(tmp_path: Path) -> None:
    assert "of 1 items done" in summary_page(tmp_path, ["a"])


def test_rows_that_were_cut_short_are_left_out(tmp_path: Path) -> None:
    add_row(tmp_path, Row("a", "failed", "first"))
    add_row(tmp_path, Row("a", "done", metrics={"psnr": float("nan")}))
    with (tmp_path / "batch.jsonl").open("a") as file:
        file.write('{"item": "b", "stat')
    rows = read_rows(tmp_path)
    assert list(rows) == ["a"] and rows["a"].status == "done"
    assert rows["a"].metrics == {"psnr": None}


def test_pairs_leave_out_what_items_differ_in(tmp_path: Path) -> None:
    for name, first, other in (("a", 10.0, 11.0), ("b", 30.0, 31.5), ("c", 20.0, 19.5)):
        write_run(tmp_path / "first", name, first, None)
        write_run(tmp_path / "other", name, other, None)
    write_run(tmp_path / "other", "d", 0.0, None)
    write_run(tmp_path / "other", "e", 0.0, None, status="failed")
    assert is_batch(tmp_path / "other") and not is_batch(run_of(tmp_path / "other", "a"))
    batches = read_batches([tmp_path / "first", tmp_path / "other"])
    (psnr, seconds) = batch_records(batches)
    assert (psnr["metric"], psnr["items"]) == ("psnr", 3)
    assert psnr["other_better"] == pytest.approx(2 / 3)
    assert psnr["difference_mean"] == pytest.approx(2 / 3)
    assert psnr["difference_deviation"] == pytest.approx(np.std([1.0, 1.5, -0.5], ddof=1))
    assert psnr["difference_deviation"] < psnr["first_deviation"]
    assert seconds["metric"] == "seconds" and seconds["first_mean"] == 2.0
    assert list(doubts(batches)) == ["other: 1 of 4 items aren't finished in all batches"]
    write_run(tmp_path / "third", "z", 0.0, None)
    with pytest.raises(RunError, match="have no finished item of one name"):
        read_batches([tmp_path / "first", tmp_path / "third"])
