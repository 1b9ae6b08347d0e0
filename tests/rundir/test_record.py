"""What run.json says, and what is read back from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inv3d.core.errors import RunError
from inv3d.rundir.record import Plan, new_record

PLUGIN = {"name": "toy", "options": {}}
RECORD: dict[str, Any] = {
    "format": 1,
    "method": PLUGIN,
    "generator": PLUGIN | {"fingerprint": "f"},
    "input": {"path": "p", "views": ["a"], "chosen": [0], "held_out": [], "digest": "d"},
    "seed": 1,
    "device": "cpu",
    "threads": 1,
    "view_chunk": None,
    "checkpoint_every": 50,
    "init": None,
    "files": {"/weights/a.pth": "0123"},
    "pictures": True,
    "status": "running",
}


def test_a_plan_round_trips() -> None:
    plan = Plan.read(RECORD, Path("run.json"))
    assert Plan.read(plan.model_dump(mode="json"), Path("run.json")) == plan


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": None}, "'seed': input should be a valid integer"),
        ({"method": "toy"}, "'method': input should be a valid dictionary"),
        ({"format": 2}, "format 2, expected 1"),
    ],
)
def test_a_changed_record_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError) as error:
        Plan.read(RECORD | change, Path("run.json"))
    assert said in str(error.value)
    assert str(error.value).startswith("run.json: ")


def test_a_new_record_is_the_plan_and_its_surroundings() -> None:
    plan = Plan.read(RECORD, Path("run.json"))
    record = new_record(plan, warnings=["mind the gap"], command=["3dinv", "run"])
    assert Plan.read(record, Path("run.json")) == plan
    assert record["status"] == "running"
    assert record["warnings"] == ["mind the gap"]
    assert record["command"] == ["3dinv", "run"]
    assert {"3dinv", "python", "torch", "numpy"} <= set(record["versions"])
    assert not {"imported", "finished", "seconds"} & set(record)


def test_what_was_imported_is_finished_from_the_start() -> None:
    plan = Plan.read(RECORD, Path("run.json"))
    record = new_record(plan, imported={"latent": {"file": "w.npz", "sha256": "0"}})
    assert record["status"] == "finished"
    assert record["started"] == record["finished"]
    assert record["seconds"] == {}
    assert record["imported"]["latent"]["file"] == "w.npz"
