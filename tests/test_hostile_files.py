"""Our own files, damaged or changed by others: read as they were written, or refused in a line."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.editor import Directions
from inv3d.core.errors import InvError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Stage
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.state import RunState
from inv3d.core.inversion import Inversion
from inv3d.core.trained import Trained
from inv3d.report.compare import mismatches, read_runs, sections, to_csv, to_html
from inv3d.rundir.opening import method_of, read_metrics, read_record, read_result
from inv3d.rundir.record import Plan
from tests.commands.run_cli import QUICK, registered, write_capture
from tests.commands.run_cli import run as run_command
from tests.hostile import mutated, oddly, with_odd_header
from tests.toy_runs import toy_case

TIMES = 300


@dataclass(frozen=True)
class Reader:
    """A file of ours.

    Attributes:
        path: of the intact file.
        read: reads it, and uses what it holds.
    """

    path: Path
    read: Callable[[], Any]


def inversion(folder: Path) -> Reader:
    case = toy_case(latents=2)
    case.inversion.save(folder)

    def read() -> None:
        found = Inversion.load(folder)
        found.ws_for(case.capture.camera)
        found.digest()

    return Reader(folder / "inversion.safetensors", read)


def directions(folder: Path) -> Reader:
    path = folder / "axes.safetensors"
    made = Directions("axes", "toy", "0123", {"axes": torch.eye(3)}, {"count": 3})
    made.save(path)
    return Reader(path, lambda: Directions.load(path).save(folder / "again.safetensors"))


def trained(folder: Path) -> Reader:
    path = folder / "encoder.safetensors"
    made = Trained("encoder", "toy", "0123", {"a.b": torch.eye(3)}, torch.ones(1, 4), {"x": 1})
    made.save(path)
    return Reader(path, lambda: Trained.load(path).save(folder / "again.safetensors"))


def fit(context: Context, steps: int) -> None:
    x = torch.zeros(3, requires_grad=True)

    def update(step: int) -> dict[str, torch.Tensor]:
        loss = (x - 3).square().sum()
        loss.backward()
        return {"total": loss.detach()}

    groups = {"x": Group({"x": x}, constant(0.1))}
    for taken, _ in enumerate(context.run(Stage("first", 2, groups, {"fit": update}))):
        if taken + 1 == steps:
            return
    for taken, _ in enumerate(context.run(Stage("second", 9, groups, {"fit": update}))):
        if taken + 3 == steps:
            return


def checkpoint(folder: Path) -> Reader:
    path = folder / "checkpoint.safetensors"
    fit(Context.create(checkpoint=path, every=1), 6)

    def read() -> RunState:
        context = Context.create(checkpoint=folder / "checkpoint.safetensors", every=1000)
        context.state.restore()
        fit(context, 0)
        return context.state

    return Reader(path, read)


SAFETENSORS = {
    "inversion": inversion,
    "directions": directions,
    "trained": trained,
    "checkpoint": checkpoint,
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_of_ours(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    reader = SAFETENSORS[name](tmp_path)
    data = reader.path.read_bytes()
    reader.read()
    reader.path.write_bytes(data)
    refused = 0
    for _ in range(TIMES):
        change = with_odd_header if chance.randrange(2) else mutated
        reader.path.write_bytes(change(data, chance))
        refused += is_refused(reader.read)
    assert refused > TIMES / 4


def is_refused(read: Callable[[], Any]) -> bool:
    try:
        read()
    except InvError as error:
        assert str(error).isprintable(), error
        return True
    return False


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy."""
    folder = tmp_path_factory.mktemp("finished")
    capture = write_capture(folder / "capture")
    with pytest.MonkeyPatch.context() as patch:
        for _ in registered(patch):
            result = run_command("--input", capture, *QUICK, "--out", folder / "run", "--no-report")
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "run")


def use_record(run: Path) -> None:
    record, _ = read_result(run)
    method_of(record)
    sum(record.get("seconds", {}).values())
    Plan.read(record, run)


def use_metrics(run: Path) -> None:
    runs = read_runs([run, run])
    mismatches(runs)
    sections(runs)
    to_csv(runs)
    to_html(runs)


@pytest.mark.parametrize(("file", "use"), [("run.json", use_record), ("metrics.json", use_metrics)])
def test_json_of_ours(run: Path, file: str, use: Callable[[Path], None]) -> None:
    path, chance = run / file, random.Random(file)
    whole = json.loads(path.read_text())
    read_record(run)
    use(run)
    refused = 0
    for _ in range(TIMES):
        if chance.randrange(2):
            path.write_text(json.dumps(oddly(whole, chance)))
        else:
            path.write_bytes(mutated(path.read_bytes(), chance))
        refused += is_refused(lambda: use(run))
        path.write_text(json.dumps(whole))
    assert refused > TIMES / 4


def test_json_that_is_nested_without_end(run: Path) -> None:
    (run / "metrics.json").write_text("[" * 100_000)
    assert is_refused(lambda: read_metrics(run))
