"""Editing in Python: paths as they're given, and what isn't an edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.editor import load_editor
from inv3d.core.errors import ConfigError
from inv3d.core.registry.discovery import registry
from inv3d.rundir.opening import open_run
from inv3d.runs.directions import fit_directions
from inv3d.runs.edit import Edit, Edited, Editing, before_and_after
from tests.commands.run_case import make_run
from tests.plugins.editors.subjects import subject_of, toy
from tests.toy_runs import CPU

TOY = (
    "generators:toy=tests.plugins.editors.subjects:KnownToy,"
    "editors:calm=tests.plugins.editors.subjects:Calm"
)
FORMS: list[Callable[[Path], Any]] = [str, Path, lambda path: [str(path)], lambda path: (path,)]


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INV3D_PLUGINS", TOY)
        registry.cache_clear()
        yield
    registry.cache_clear()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs "one" and "other"."""
    folder = tmp_path_factory.mktemp("edit")
    make_run(folder, "one")
    make_run(folder, "other", error=0.5)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_one_partner_is_a_path_or_a_list(runs: Path, form: Callable[[Path], Any]) -> None:
    editing = Editing(open_run(runs / "one", CPU), "interpolate", partners=form(runs / "other"))
    assert editing.partners == (runs / "other",)
    found = editing.apply([Edit({"strength": 1.0})]).inversion
    assert torch.allclose(found.ws, open_run(runs / "other", CPU).inversion.ws, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_directions_are_a_path_or_a_list(
    runs: Path, tmp_path: Path, form: Callable[[Path], Any]
) -> None:
    file, run = tmp_path / "own.safetensors", open_run(runs / "one", CPU)
    fit_directions(load_editor("ganspace", {"samples": 3000}), run.generator, seed=1, out=file)
    editing = Editing(run, "ganspace", directions=str(file), others=form(file))
    assert len(editing.others) == 1


@pytest.mark.parametrize(
    ("edits", "found"),
    [
        (Edit({"strength": 1.0}), "type Edit, expected a list, such as"),
        ([{"strength": 1.0}], "type dict among them"),
        ({"strength": 1.0}, "type str among them"),
        ("calm", "type str among them"),
        (None, "type NoneType, expected"),
    ],
)
def test_what_is_no_list_of_edits_is_one_line(runs: Path, edits: Any, found: str) -> None:
    editing = Editing(open_run(runs / "one", CPU), "calm")
    with pytest.raises(ConfigError, match=f"^edits: found a value of {found}"):
        editing.apply(edits)


def test_edits_may_be_made_on_the_way(runs: Path) -> None:
    editing = Editing(open_run(runs / "one", CPU), "calm")
    one = editing.apply([Edit({"strength": 0.5})] * 2).inversion
    other = editing.apply(Edit({"strength": 0.5}) for _ in range(2)).inversion  # type: ignore[arg-type]
    assert torch.equal(one.ws, other.ws)


def test_the_front_has_no_sign() -> None:
    subject = subject_of(toy())
    edited = Edited(subject, subject.inversion, subject.generator, ())
    for shown in before_and_after(edited):
        assert list(shown.labels) == ["yaw 0°", "yaw +40°", "yaw -40°"]
