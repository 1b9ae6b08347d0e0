"""Which views are chosen and held out; what is read back from run.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inv3d.core.device import resolve_device
from inv3d.core.errors import ConfigError, RunError
from inv3d.io.dataset import open_capture
from inv3d.rundir.record import Plan, digest, load_input, split_views
from tests.captures import SIZE, content, noise_image, png, write

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
    "pictures": True,
    "status": "running",
}


@given(st.integers(1, 40), st.data())
def test_held_out_views_are_others_in_order(count: int, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, count - 1)))
    others = sorted(set(range(count)) - chosen)
    assert split_views(count, sorted(chosen), "all") == others
    assert split_views(count, sorted(chosen), "none") == []
    number = data.draw(st.integers(0, 50))
    some = split_views(count, sorted(chosen), str(number))
    assert len(some) == min(number, len(others))
    assert some == sorted(set(some))
    assert set(some) <= set(others)


def test_some_views_are_spread_evenly() -> None:
    assert split_views(10, [0, 9], "2") == [3, 7]
    assert split_views(10, [0, 9], "1") == [5]


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


def test_a_capture_that_changed_is_refused(tmp_path: Path) -> None:
    write(content(), tmp_path)
    capture = open_capture(tmp_path).load(SIZE, [0, 2])
    part = {
        "path": str(tmp_path),
        "views": ["view0.png", "view2.png"],
        "chosen": [1],
        "held_out": [0],
        "digest": digest(capture),
    }
    again, chosen, held_out = load_input(part, SIZE)
    assert torch.equal(again.images, capture.images)
    assert (chosen, held_out) == ([1], [0])
    write({"view1.png": png(noise_image(9))}, tmp_path)
    load_input(part, SIZE)
    write({"view2.png": png(noise_image(9))}, tmp_path)
    with pytest.raises(RunError, match="its images or labels aren't those that the run began with"):
        load_input(part, SIZE)
    with pytest.raises(RunError, match=r"view9\.png was there when the run began"):
        load_input(part | {"views": ["view9.png"]}, SIZE)


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_devices(name: str) -> None:
    expected = "cuda:0" if name == "auto" and torch.cuda.is_available() else "cpu"
    assert str(resolve_device(name)) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [("gpu", "expected auto, cpu, cuda or cuda:NUMBER"), ("mps", "expected auto, cpu, cuda"),
     ("cuda:99", "this machine has")],
)  # fmt: skip
def test_devices_that_arent_there(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}: {said}"):
        resolve_device(name)
