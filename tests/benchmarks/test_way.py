"""The table of whole inversions, and the options that it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import way
from inv3d.core.config import build_config, merge
from inv3d.core.files import write_json
from inv3d.core.registry.discovery import registry

NUMBERS = {"mse": 0.02, "perceptual": 0.05, "identity": 0.99, "seconds": 100.0}


def _rows(variant: str, *changes: dict[str, float]) -> list[dict[str, Any]]:
    """A row a capture."""
    return [
        way.row_of(f"captures/{i}.zip", 1, "multiview", variant) | NUMBERS | change
        for i, change in enumerate(changes)
    ]


def test_the_table_compares_pairs() -> None:
    adam = _rows("adam", {}, {"mse": 0.04}, {"mse": 9.0})
    default = _rows("default", {"mse": 0.01, "seconds": 30.0}, {"mse": 0.02, "seconds": 50.0})
    lines = way.table([*adam, *default]).splitlines()
    assert lines[2] == "| `multiview` | adam | 2 | 0.0300 | 0.0500 | 0.9900 | 100 |"
    assert lines[3] == "| `multiview` | default | 2 | 0.0150 | 0.0500 | 0.9900 | 40 |"
    assert lines[4].startswith("| | difference | | -0.0150 ± 0.0071 | +0.0000 ± 0.0000 |")
    assert len(lines) == 5


def test_a_row_that_is_there_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = _rows("adam", {})
    write_json(way.path_of(tmp_path, row), row)
    monkeypatch.setattr(way, "prepare", lambda request: pytest.fail("measured again"))
    way.take(tmp_path, row, "captures/0.zip", {})
    assert way.rows_in(tmp_path) == [row]


@pytest.mark.parametrize("method", way.METHODS)
def test_one_side_is_adam_over_all_views(method: str) -> None:
    kind = registry().load("methods", method)
    suited = registry().load("generators", "minihead").method_options[method]
    config = build_config(kind.Config, merge(suited, way.ADAM[method]), method).model_dump()
    assert config["views_per_step"] is None and config["tuning"]["rampup"] == 0
    assert config["latent"]["optimizer"] == "adam"
    assert config.get("start", {}).get("latent", config["latent"])["optimizer"] == "adam"
