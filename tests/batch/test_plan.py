"""What run directories say of items: nothing else is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inv3d.batch.facts import gather
from inv3d.batch.plan import Plan, content, look, stamp
from inv3d.batch.station import Task
from inv3d.core.errors import RunError
from inv3d.rundir.batch import run_of
from tests.batch.toy_batch import request, station, work, write_captures
from tests.commands.run_cli import registered


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from registered(monkeypatch)


def test_a_run_is_new_then_stopped_then_done(tmp_path: Path) -> None:
    (item,) = write_captures(tmp_path / "captures", 1)
    worker, out = station(tmp_path), tmp_path
    plan = worker.order.plan
    assert look(out, item, plan).state == "new"
    work(worker, Task(item), stop=True)
    assert look(out, item, plan).state == "stopped"
    work(worker, Task(item))
    assert look(out, item, plan).state == "done"
    (run_of(out, item.name) / "metrics.json").unlink()
    assert look(out, item, plan).state == "failed"
    work(worker, Task(item))
    assert look(out, item, plan).state == "done"


def test_what_is_asked_otherwise_is_said(tmp_path: Path) -> None:
    (item,) = write_captures(tmp_path / "captures", 1)
    work(station(tmp_path), Task(item))
    for changed, why in (
        (request(seed=4), "seed was 303, and is 4 now"),
        (request(preset="default"), "preset was not given, and is default now"),
        (
            request(options={"latent": {"steps": 7, "samples": 50}}),
            "options.latent.steps was 6, and is 7 now",
        ),
    ):
        found = look(tmp_path, item, Plan.of(changed, gather(changed)))
        assert (found.state, found.why) == ("other", why)
    for same in (request(view_chunk=2), request(checkpoint_every=9), request(device="auto")):
        assert look(tmp_path, item, Plan.of(same, gather(same))).state == "done"
    facts = replace(gather(request()), fingerprint="0" * 16)
    assert "weights" in look(tmp_path, item, Plan.of(request(), facts)).why


@pytest.mark.parametrize("kept_in", ["inversion.safetensors", "trained.safetensors"])
def test_a_start_counts_by_content_not_by_path(tmp_path: Path, kept_in: str) -> None:
    (item,) = write_captures(tmp_path / "captures", 1)
    start = tmp_path / "start"
    start.mkdir()
    (start / kept_in).write_bytes(b"one")
    plain, asked = Plan.of(request(), gather(request())), request(init=start)
    before = Plan.of(asked, gather(asked))
    (start / kept_in).touch()
    assert Plan.of(asked, gather(asked)) == before != plain
    (start / kept_in).write_bytes(b"two")
    after = Plan.of(asked, gather(asked))
    assert (after.asked, after.digest == before.digest) == (before.asked, False)
    path = run_of(tmp_path, item.name) / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"status": "finished", "batch": before.part(item)}))
    found = look(tmp_path, item, after)
    assert found.state == "other" and "those of --init have changed" in found.why


def test_the_networks_of_a_method_that_is_the_start_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = request(init=Path("psp"))
    before = gather(asked)
    monkeypatch.setattr("inv3d.batch.facts.used_files", lambda *_: {"psp.safetensors": "0" * 64})
    after = gather(asked)
    assert after.init == ("0" * 64,) and replace(after, init=before.init) == before
    assert gather(request(init=Path("nowhere"))).init == ()


def test_an_input_counts_as_changed_by_content_not_by_date(tmp_path: Path) -> None:
    (item,) = write_captures(tmp_path / "captures", 1)
    worker = station(tmp_path)
    work(worker, Task(item))
    picture = Path(item.input) / "view000.png"
    before, known = stamp(item.input), content(item.input)
    os.utime(picture, (1, 1))
    assert stamp(item.input) != before and content(item.input) == known
    assert look(tmp_path, item, worker.order.plan).state == "done"
    picture.write_bytes(picture.read_bytes() + b"x")
    found = look(tmp_path, item, worker.order.plan)
    assert found.state == "other" and found.why == f"{item.input} has changed"
    assert stamp("sample:static") == content("sample:static") == ""


def test_a_result_stands_where_its_capture_is_gone(tmp_path: Path) -> None:
    item, other = write_captures(tmp_path / "captures", 2)
    worker = station(tmp_path)
    plan = worker.order.plan
    work(worker, Task(item))
    work(worker, Task(other), stop=True)
    (tmp_path / "captures").rename(tmp_path / "elsewhere")
    found = look(tmp_path, item, plan)
    assert (found.state, found.why) == ("done", f"{item.input} isn't there any more")
    assert look(tmp_path, other, plan).state == "stopped"
    (run_of(tmp_path, item.name) / "metrics.json").unlink()
    assert look(tmp_path, item, plan).state == "failed"
    otherwise = request(seed=4)
    assert look(tmp_path, item, Plan.of(otherwise, gather(otherwise))).state == "other"


def test_a_run_of_no_batch_is_in_the_way(tmp_path: Path) -> None:
    (item,) = write_captures(tmp_path / "captures", 1)
    worker = station(tmp_path)
    path = run_of(tmp_path, item.name) / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(RunError, match="a run that belongs to no batch is in the way"):
        look(tmp_path, item, worker.order.plan)
