"""A batch of captures of the toy generator, and a worker for it in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from inv3d.batch.facts import gather
from inv3d.batch.items import Item
from inv3d.batch.messages import Task
from inv3d.batch.plan import Plan
from inv3d.batch.station import Order, Station
from inv3d.rundir.batch import Row, run_of
from inv3d.runs.prepare import Request
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.blank_plots import blank_plots
from tests.captures import files_of, write

STEPS = 6
OPTIONS = {"latent": {"steps": STEPS, "samples": 50}}


def write_captures(folder: Path, count: int, views: int = 3) -> list[Item]:
    """Write captures of different heads."""
    generator = ToyGenerator(ToyConfig())
    items = []
    for seed in range(count):
        path = write(files_of(toy_capture(generator, views, seed)), folder / f"head{seed}")
        items.append(Item(path.name, str(path)))
    return items


def request(**more: Any) -> Request:
    """What is asked of every item."""
    asked = Request("wplus", "toy", "", OPTIONS, pictures=False, checkpoint_every=2, device="cpu")
    return replace(asked, **more)


def station(out: Path, asked: Request | None = None, **order: Any) -> Station:
    """Return a worker."""
    asked = asked or request()
    return Station(Order(out, asked, Plan.of(asked, gather(asked)), **order))


def work(worker: Station, task: Task, *, stop: bool = False) -> Row:
    """Let it work on an item."""
    with blank_plots():
        row = worker(task, lambda said: None, lambda: stop)
    assert isinstance(row, Row)
    return row


def result(out: Path, item: str) -> bytes:
    """The result of an item."""
    return (run_of(out, item) / "inversion.safetensors").read_bytes()
