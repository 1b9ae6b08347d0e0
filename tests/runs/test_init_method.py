"""Runs that begin with what an encoder makes of the same views."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from inv3d.core.errors import RunError, UnsupportedError, WeightsError
from inv3d.core.inversion import Inversion
from inv3d.core.registry.discovery import registry
from inv3d.core.weights import known
from inv3d.rundir.record import Plan
from inv3d.runs.prepare import Request, prepare, prepare_again
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from tests.plugins.methods.encoder_trainings import Training
from tests.toy_runs import PLUGIN, write_capture

FEW = {"latent": {"steps": 0, "samples": 50}}


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", PLUGIN)
    monkeypatch.setenv(known.DIRECTORY, str(tmp_path / "weights"))
    registry.cache_clear()
    yield
    registry.cache_clear()


def _request(tmp_path: Path, init: str) -> Request:
    source = tmp_path / "capture"
    if not source.exists():
        source.mkdir()
        write_capture(toy_capture(ToyGenerator(ToyConfig()), 3), source)
    return Request("wplus", "toy", str(source), options=FEW, init=Path(init))


def _psp(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    place = Training("psp", ToyGenerator(ToyConfig())).steps(1).save(folder)
    (place / "trained.safetensors").rename(folder / "psp-toy.safetensors")


def test_an_encoder_by_name_is_where_a_run_begins(tmp_path: Path) -> None:
    _psp(tmp_path)
    run = prepare(_request(tmp_path, "psp"))
    assert run.init is not None and run.init.method == "psp"
    assert run.plan.init is not None and run.plan.init.method == "psp"
    chosen = run.capture[run.plan.input.chosen]
    found: Inversion = run.method.invert(run.generator, chosen, run.context(None))
    assert [made.name for made in found.history] == ["psp", "wplus"]
    assert found.history[1].parent == run.init.digest()
    assert found.ws.allclose(run.init.ws)
    plan = Plan.model_validate_json(run.plan.model_dump_json())
    again = prepare_again(plan, tmp_path)
    assert again.init is not None and again.init.digest() == run.init.digest()


def test_the_directory_of_a_training_will_do(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    place = Training("psp", ToyGenerator(ToyConfig())).steps(1).save(tmp_path / "mine")
    run = prepare(_request(tmp_path, str(place)))
    assert run.init is not None and run.init.method == "psp"
    plan = Plan.model_validate_json(run.plan.model_dump_json())
    again = prepare_again(plan, tmp_path)
    assert again.init is not None and again.init.digest() == run.init.digest()
    Training("psp", ToyGenerator(ToyConfig())).steps(2).save(place)
    with pytest.raises(RunError, match="no longer makes of the input what the run began with"):
        prepare_again(plan, tmp_path)


def test_a_method_with_steps_is_run_first(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"--init pti: method pti takes steps.*\(.*psp"):
        prepare(_request(tmp_path, "pti"))


def test_what_is_no_run_is_answered_with_what_it_could_be(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "inversion.safetensors").touch()
    (tmp_path / "run" / "run.json").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.html").write_text("<html>")
    np.save(tmp_path / "w.npy", np.ones((1, 4, 8), np.float32))
    torch.save({"w": torch.ones(1, 4, 8), "step": 5}, tmp_path / "w.pt")
    for name, said in {
        "run/run.json": f"is a file, not a run; give its folder, {tmp_path / 'run'}",
        "w.npy": f"make one of these latents with '3dinv convert {tmp_path / 'w.npy'} --as-run",
        "w.pt": f"make one of these latents with '3dinv convert {tmp_path / 'w.pt'} --as-run DIR'",
        "page.html": "is a file, not a run; give the directory of a finished run or a training",
        "empty": "no inversion.safetensors there; give the directory of a finished run or a train",
        "nowhere": "name a method that takes no steps; known: dualencoder, e4e, ",
    }.items():
        with pytest.raises(RunError, match=re.escape(f"--init {tmp_path / name}: ")) as caught:
            prepare(_request(tmp_path, str(tmp_path / name)))
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_misspelt_method_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="takes no steps; did you mean 'triplanenet'"):
        prepare(_request(tmp_path, "triplanet"))


def test_an_encoder_without_networks_says_how_to_train_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="3dinv train e4e --generator toy"):
        prepare(_request(tmp_path, "e4e"))
