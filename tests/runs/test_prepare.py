"""What is checked before a run begins: views, and what a method needs of the capture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inv3d.core.errors import ConfigError, InputError, PluginError, UnsupportedError
from inv3d.core.registry.discovery import registry
from inv3d.runs.prepare import PreparedRun, Request, prepare, split_views
from inv3d.testing.toy import ToyGenerator
from tests.captures import content, noise_image, png, write
from tests.commands.run_cli import registered, write_capture
from tests.runs.plugins import BLIND, CUTTER, NONE_FITTED

PRESET = "generators:preset-toy=tests.runs.plugins:PresetToy"


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from registered(monkeypatch, CUTTER, BLIND, PRESET)


@given(st.integers(1, 40), st.data())
def test_held_out_views_are_others_in_order(count: int, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, count - 1)))
    others = sorted(set(range(count)) - chosen)
    assert split_views(count, sorted(chosen), "all") == others
    assert split_views(count, sorted(chosen), "none") == []
    number = data.draw(st.integers(0, len(others)))
    some = split_views(count, sorted(chosen), str(number))
    assert len(some) == number
    assert some == sorted(set(some))
    assert set(some) <= set(others)


def test_some_views_are_spread_evenly() -> None:
    assert split_views(10, [0, 9], "2") == [3, 7]
    assert split_views(10, [0, 9], "1") == [5]


def test_more_held_out_views_than_there_are() -> None:
    with pytest.raises(InputError) as error:
        split_views(9, [0, 8], "1000", "head/")
    assert str(error.value) == (
        "--hold-out 1000: the capture head/ has 7 views besides the 2 that are inverted; give a "
        "smaller number, or all"
    )


def request(folder: Path, method: str) -> Request:
    return Request(method=method, generator="toy", input=str(folder), device="cpu")


@pytest.mark.usefixtures("plugins")
def test_a_capture_without_what_a_method_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the generator isn't built before that is known")

    write(content(3), tmp_path)
    monkeypatch.setattr(ToyGenerator, "create", never)
    with pytest.raises(UnsupportedError) as error:
        prepare(request(tmp_path, "cutter"))
    said = str(error.value)
    assert f"--input {tmp_path}: has no masks, which method cutter needs; give a capture" in said
    others = said.partition("take a method that does without (")[2].rstrip(")").split(", ")
    assert {"blind", "pti", "wplus"} <= set(others) and "cutter" not in others


@pytest.mark.usefixtures("plugins")
def test_a_capture_with_what_a_method_needs(tmp_path: Path) -> None:
    masks = {f"masks/view{i}.png": png(noise_image(i)) for i in range(3)}
    write(content(3) | masks, tmp_path)
    assert prepare(request(tmp_path, "cutter")).capture.masks is not None


@pytest.mark.usefixtures("plugins")
def test_where_no_method_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(content(3), tmp_path)
    monkeypatch.setattr("inv3d.io.dataset.CaptureFiles.posed", False, raising=False)
    with pytest.raises(UnsupportedError, match="has no cameras and no masks, which method"):
        prepare(request(tmp_path, "cutter"))
    with pytest.raises(UnsupportedError, match=r"does without \(blind, poseopt\)"):
        prepare(request(tmp_path, "wplus"))
    monkeypatch.setattr(registry().load("methods", "poseopt"), "needs", frozenset({"cameras"}))
    for _ in registered(monkeypatch, CUTTER):
        with pytest.raises(UnsupportedError, match="no installed method does without"):
            prepare(request(tmp_path, "wplus"))


@pytest.mark.usefixtures("plugins")
def test_a_result_to_start_from_that_the_method_ignores(tmp_path: Path) -> None:
    write(content(3), tmp_path)
    asked = replace(request(tmp_path, "blind"), init=tmp_path)
    with pytest.raises(UnsupportedError) as error:
        prepare(asked)
    said, _, others = str(error.value).partition(" (")
    assert said == (
        f"--init {tmp_path}: method blind doesn't start from another result; leave --init out, or "
        "take a method that does"
    )
    assert {"multilatent", "pti", "wplus"} <= set(others.rstrip(")").split(", "))


def prepared(folder: Path, method: str, **more: Any) -> PreparedRun:
    """Prepare a run on a capture of nine views, evenly by angle."""
    if not folder.exists():
        write_capture(folder)
    return prepare(replace(request(folder, method), **more))


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("method", "options", "fitted"),
    [
        ("pti", {}, 1),
        ("wplus", {}, 1),
        ("pti", {"views": "all"}, 9),
        ("multiview", {"views": 4}, 4),
        ("multilatent", {"latents": 3}, 5),
        ("multilatent", {"latents": 3, "interpolation": 0.0}, 3),
    ],
)
def test_only_views_that_are_fitted_count_as_chosen(
    tmp_path: Path, method: str, options: dict[str, Any], fitted: int
) -> None:
    run = prepared(tmp_path / "capture", method, views=9, options=options)
    part = run.plan.input
    assert len(part.chosen) == fitted
    assert sorted((*part.chosen, *part.held_out)) == list(range(9))
    chosen = run.capture[part.chosen]
    assert len(run.method.fitted(chosen.cameras, len(chosen))) == fitted
    said = f"method {method} fits {fitted} of the 9 views that were chosen"
    assert any(said in notice for notice in run.notices) == (fitted < 9)


@pytest.mark.usefixtures("plugins")
def test_what_is_not_fitted_can_be_left_out(tmp_path: Path) -> None:
    run = prepared(tmp_path / "capture", "pti", views=9, hold_out="none")
    assert (len(run.capture), run.plan.input.chosen) == (1, (0,))
    run = prepared(tmp_path / "capture", "pti", views=9, hold_out="8")
    assert len(run.plan.input.held_out) == 8
    with pytest.raises(InputError, match=r"--hold-out 9: the capture .* has 8 views besides the 1"):
        prepared(tmp_path / "capture", "pti", views=9, hold_out="9")


def test_a_method_that_fits_no_view_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in registered(monkeypatch, NONE_FITTED):
        with pytest.raises(PluginError, match=r"method nothing: its fitted\(\) returned \[\]"):
            prepared(tmp_path / "capture", "nothing")


@pytest.mark.usefixtures("plugins")
def test_a_generators_preset_is_taken_and_recorded(tmp_path: Path) -> None:
    run = prepared(tmp_path / "capture", "wplus", generator="preset-toy", generator_preset="coarse")
    assert run.plan.generator.preset == "coarse"
    assert run.plan.generator.options == run.generator.config.model_dump()
    assert run.generator.config.seed == 5
    over = {"generator": {"seed": 7}}
    run = prepared(
        *(tmp_path / "capture", "wplus"),
        generator="preset-toy",
        generator_preset="coarse",
        options=over,
    )
    assert run.generator.config.seed == 7
    with pytest.raises(ConfigError, match=r"generator preset-toy has no preset 'course'.*'coarse'"):
        prepared(
            *(tmp_path / "capture", "wplus"), generator="preset-toy", generator_preset="course"
        )
