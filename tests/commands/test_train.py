"""`3dinv train`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inv3d.commands.train import command
from inv3d.core.registry.discovery import registry
from tests.blank_plots import blank_plots
from tests.commands.run_case import answer, fault, good, imports_nothing_heavy
from tests.train.toy_encoder import PLUGINS

SHORT = ["--set", "training.steps=4", "--set", "training.hold_out=2", "--evaluate-every", "2"]


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", ",".join(PLUGINS))
    monkeypatch.chdir(tmp_path)
    registry.cache_clear()
    with blank_plots():
        yield
    registry.cache_clear()


def test_it_starts_without_torch() -> None:
    assert imports_nothing_heavy("inv3d.commands.train")


def test_a_training_shows_its_evaluations_and_how_to_use_it() -> None:
    said = good(command, "toyenc", "--generator", "toy", *SHORT)
    assert "use it: 3dinv run --method toyenc --generator toy --set weights=toyenc-toy" in said
    assert "latent" in said and Path("toyenc-toy/training.html").is_file()
    found = answer(command, "--resume", "toyenc-toy", "--set", "training.steps=6")["training"]
    assert [row["step"] for row in found["evaluations"]] == [2, 4, 6]
    assert found["status"] == "finished" and found["plugin"]["kind"] == "methods"


def test_an_estimator_is_trained_too() -> None:
    found = answer(command, "toypose", "--generator", "toy", "-o", "pose", *SHORT)
    assert found["directory"] == "pose" and found["training"]["plugin"]["kind"] == "estimators"


def test_mistakes_are_one_line() -> None:
    assert "name what to train" in fault(command)
    assert "nothing that's trained is called 'toyenk'; did you mean 'toyenc'" in fault(
        command, "toyenk"
    )
    assert "unknown generator 'toi'" in fault(command, "toyenc", "--generator", "toi")
    assert "--seed can't be given with --resume" in fault(command, "--resume", "x", "--seed", "2")
    assert "no train.json" in fault(command, "--resume", "nowhere")
    text = fault(command, "--resume", "x", "--set", "width=2")
    assert "only options of the training can change" in text
    for value in ("3", "0", "''"):
        text = fault(command, "--resume", "x", "--set", f"training={value}")
        assert "is a group of options; give one of them" in text
    good(command, "toyenc", "--generator", "toy", *SHORT)
    assert "replace it with --overwrite" in fault(command, "toyenc", "--generator", "toy", *SHORT)
