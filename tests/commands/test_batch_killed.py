"""Workers and drivers are killed, an item is corrupt: nothing is lost, and nothing done twice."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.batch.items import Item
from inv3d.batch.messages import Task
from inv3d.rundir.batch import items_in, run_of
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.batch.toy_batch import request, result, station, work, write_captures
from tests.commands.run_cli import TOY, record, registered
from tests.offline import sitecustomize
from tests.plugins.methods.encoder_trainings import Training

OPTIONS = {"latent": {"steps": 40, "samples": 50}}
WORDS = (
    *("--generator", "toy", "--method", "wplus", "--set", "latent.steps=40"),
    *("--set", "latent.samples=50", "--no-report", "--checkpoint-every", "5"),
    *("--workers", "2", "--threads", "1", "--device", "cpu", "--json"),
)
HAS_RAY = importlib.util.find_spec("ray") is not None and sys.platform == "linux"


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.set_num_threads(1)
    yield from registered(monkeypatch)


class Driver:
    """A batch in another process, and what it says."""

    def __init__(
        self, captures: Path, out: Path, executor: str, asked: Sequence[str] = WORDS
    ) -> None:
        words = ["batch", str(captures), "-o", str(out), "--executor", executor, *asked]
        offline = str(Path(sitecustomize.__file__).parent)
        # processes of Ray speak to one another by an address that isn't the loopback's
        places = os.environ["PYTHONPATH"].split(os.pathsep)
        places = [place for place in places if place != offline or executor == "local"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inv3d", *words],
            env={**os.environ, "INV3D_PLUGINS": TOY, "PYTHONPATH": os.pathsep.join(places)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.workers: dict[str, int] = {}
        self.begun: list[str] = []
        self.ended: dict[str, dict[str, Any]] = {}

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what it says, and keep it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "joined":
                self.workers[event["worker"]] = event["pid"]
            elif event["event"] == "began":
                self.begun.append(event["item"])
            elif event["event"] == "ended":
                self.ended[event["item"]] = event
            yield event

    def done(self) -> set[str]:
        return {item for item, row in self.ended.items() if row["status"] == "done"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["psp", "wplus"])
def test_a_killed_worker_that_had_several_items_costs_none(tmp_path: Path, method: str) -> None:
    if method == "psp":
        Training("psp", ToyGenerator(ToyConfig()), lr=1e-3).steps(1).save(tmp_path / "psp")
        options = ("--set", f"weights={tmp_path / 'psp'}", "--at-once", "2")
    else:
        options = ("--set", "latent.steps=6", "--set", "latent.samples=50", "--pack", "2")
    fixed = ("--workers", "1", "--threads", "1", "--device", "cpu", "--no-report", "--json")
    words = ("--generator", "toy", "--method", method, *options, *fixed)
    items = write_captures(tmp_path / "captures", 6)
    driver = Driver(tmp_path / "captures", tmp_path / "out", "local", words)
    killed = False
    for event in driver.events():
        if event["event"] == "ended" and not killed:
            os.kill(driver.workers["worker-0"], signal.SIGKILL)
            killed = True
    _, said = driver.process.communicate()
    assert driver.process.returncode == 0, said
    assert driver.done() == {item.name for item in items}
    # the one that ended isn't begun again
    first = next(iter(driver.ended))
    assert driver.begun.count(first) == 1 and len(driver.begun) > len(items)


def is_finished(out: Path, item: str) -> bool:
    return record(run_of(out, item))["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize(
    "executor",
    [
        "local",
        pytest.param("ray", marks=pytest.mark.skipif(not HAS_RAY, reason="no Ray, or no Linux")),
    ],
)
def test_kills_lose_nothing_and_double_nothing(tmp_path: Path, executor: str) -> None:
    items = write_captures(tmp_path / "captures", 4)
    for item in items:
        work(station(tmp_path / "alone", request(options=OPTIONS)), Task(item))
    corrupt = Item("corrupt", str(tmp_path / "captures/corrupt"))
    Path(corrupt.input).mkdir()
    out = tmp_path / "out"

    first = Driver(tmp_path / "captures", out, executor)
    for event in first.events():
        if event["event"] != "began":
            continue
        if len(first.begun) == 2:
            os.kill(first.workers[event["worker"]], signal.SIGKILL)
        if len(first.begun) == 5:
            first.process.kill()
    first.process.communicate()
    assert first.process.returncode == -signal.SIGKILL
    assert len(first.begun) >= 5

    second = Driver(tmp_path / "captures", out, executor)
    begin, *_ = list(second.events())
    _, said = second.process.communicate()
    assert second.process.returncode == 1, said
    assert "1 of 5 items failed" in said
    assert begin["items"] == 5 and begin.get("done", 0) >= len(first.done())
    names = [item.name for item in items]
    # a worker may have finished an item after its driver was killed, and nobody was told
    assert {name for name in items_in(out) if is_finished(out, name)} == set(names)
    assert begin.get("done", 0) + len(second.done()) == len(names)
    assert not first.done() & set(second.begun)
    assert second.begun.count("corrupt") + first.begun.count("corrupt") in (1, 2)
    for name in names:
        assert result(out, name) == result(tmp_path / "alone", name)
