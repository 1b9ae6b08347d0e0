"""What is checked before a run begins: views, and what a method needs of the capture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inv3d.core.errors import UnsupportedError
from inv3d.runs.prepare import Request, prepare, split_views
from inv3d.testing.toy import ToyGenerator
from tests.captures import content, noise_image, png, write
from tests.commands.run_cli import registered
from tests.runs.plugins import BLIND, CUTTER


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from registered(monkeypatch, CUTTER, BLIND)


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
    assert "take a method that does without (blind, multilatent, multiview, pti, wplus)" in said


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
    with pytest.raises(UnsupportedError, match=r"does without \(blind\)"):
        prepare(request(tmp_path, "wplus"))
    for _ in registered(monkeypatch, CUTTER):
        with pytest.raises(UnsupportedError, match="no installed method does without"):
            prepare(request(tmp_path, "wplus"))


@pytest.mark.usefixtures("plugins")
def test_a_result_to_start_from_that_the_method_ignores(tmp_path: Path) -> None:
    write(content(3), tmp_path)
    asked = replace(request(tmp_path, "blind"), init=tmp_path)
    with pytest.raises(UnsupportedError) as error:
        prepare(asked)
    assert str(error.value) == (
        f"--init {tmp_path}: method blind doesn't start from another result; leave --init out, or "
        "take a method that does (multilatent, multiview, pti, wplus)"
    )
