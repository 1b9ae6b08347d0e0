"""Requests of `inv3d.invert`: what the command line would refuse is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inv3d
from inv3d.runs.asked import _EXPECTED, asked
from inv3d.runs.prepare import Request
from tests.toy_runs import toy_case

GIVEN = {"method": "wplus", "generator": "toy"}
COUNT = "expected a whole number, 1 or more"
NAME = "expected text; give the name of the plugin"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("views", value, COUNT) for value in (0, "2", ["a"], 2.0, True)),
        *(("view_chunk", value, COUNT) for value in (0, -3, "1")),
        ("checkpoint_every", 0, COUNT),
        *(("seed", value, "64 bits") for value in (True, "1", None, 1.5, 2**70)),
        *(("hold_out", value, "'all', 'none' or a") for value in (-1, "nope", None, 1.0, "-1")),
        ("selection", "best", "expected 'angle' or 'index' or 'all'"),
        ("options", "steps=2", r"a table, such as \{'latent'"),
        *(("metrics", value, "a table of roles") for value in (["soft"], "l1", {"soft": 1})),
        ("undistort", "x", "expected True or False"),
        ("pictures", 2, "expected True or False"),
        ("preset", 3, "the name of a preset"),
        ("method", inv3d.ToyGenerator, f"the class ToyGenerator, {NAME}"),
        ("generator", inv3d.ToyGenerator(inv3d.ToyConfig()), f"of type ToyGenerator, {NAME}"),
        ("device", 0, "'auto', 'cpu'"),
        ("on_step", 5, "5, expected a function that takes a Progress"),
        ("out", 3, "3, expected the path of a directory to write"),
        ("out", "", "'', expected the path of a directory"),
        ("overwrite", "yes", "expected True or False"),
        ("weights", "", "'', expected the path of a file"),
        ("weights", {}, "of type dict, expected the path of a file"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line(name: str, value: Any, message: str) -> None:
    with pytest.raises(inv3d.ConfigError, match=f"^{name}: found .*{message}") as caught:
        inv3d.invert("sample:static", **{**GIVEN, name: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_results_and_cameras_are_no_names() -> None:
    case = toy_case()
    with pytest.raises(
        inv3d.ConfigError, match=r"^init: found a value of type Inversion, expected"
    ):
        inv3d.invert("sample:static", init=case.inversion)
    with pytest.raises(inv3d.ConfigError, match=r"^camera: found a value of type Camera, expected"):
        inv3d.invert("sample:static", camera=case.capture.camera)


def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(inv3d.ConfigError, match=r"no argument 'view'; did you mean 'views'\?"):
        inv3d.invert("sample:static", view=3)
    with pytest.raises(inv3d.ConfigError, match="no argument 'input'"):
        inv3d.invert("sample:static", input="sample:dynamic")


def test_frames_in_memory_are_no_capture() -> None:
    for capture in (toy_case().capture, torch.zeros(1, 3, 8, 8), None):
        with pytest.raises(
            inv3d.InputError, match=r"^capture: found .*, expected the path"
        ) as told:
            inv3d.invert(capture)  # type: ignore[arg-type]
        assert len(str(told.value)) < 200


def test_an_opened_capture_is_opened_again() -> None:
    opened = inv3d.open_capture("sample:static")
    assert asked(opened, GIVEN).input == opened.source
    assert len(inv3d.open_capture(asked(opened, GIVEN).input)) == len(opened)


def test_what_a_request_needs_is_taken_as_it_holds_it() -> None:
    given = {**GIVEN, "views": np.int64(3), "hold_out": 2, "weights": "a.pt", "init": None}
    expected = Request("wplus", "toy", "mine", views=3, hold_out="2", weights=Path("a.pt"))
    assert asked(Path("mine"), given) == expected
    assert type(asked("mine", given).views) is int


def test_every_field_is_looked_at() -> None:
    assert {*_EXPECTED, "input"} == set(Request.__dataclass_fields__)
