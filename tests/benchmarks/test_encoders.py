"""Timing of the parts of a pass."""

from __future__ import annotations

import json

from click.testing import CliRunner

from benchmarks import encoders


def test_every_part_is_timed() -> None:
    command = ["--size", "mini", "--rays", "16", "--pictures", "1,2", "--repeats", "1", "--json"]
    result = CliRunner().invoke(encoders.main, command)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.output)
    assert len(rows) == 2 * 2 * 5 and all(row["milliseconds"] > 0 for row in rows)
    assert {row["part"] for row in rows} >= {"encoder", "backbone", "render", "second branch"}
