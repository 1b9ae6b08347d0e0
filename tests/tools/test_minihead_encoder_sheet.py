"""Sheets of what the embedded encoders make of heads."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from tools.minihead import encoder_sheet, make_captures


def test_sheets_of_one_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    for name, route in (("heads", []), ("orbits", ["--route", "orbit"])):
        given = [str(tmp_path / name), "--first-seed", "20000200", "--count", "1", "--zip"]
        options = ["write", *given, "--views", "3", *route]
        result = runner.invoke(make_captures.main, options)
        assert result.exit_code == 0, result.output
    out = ["--out", str(tmp_path)]
    command = [str(tmp_path / "heads"), str(tmp_path / "orbits"), *out]
    result = runner.invoke(encoder_sheet.main, command)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "encoders.jpg") as sheet:
        assert sheet.width < sheet.height  # the picture, then two rows a method
    with Image.open(tmp_path / "dualencoder.jpg") as sheet:
        assert sheet.width == sheet.height  # the picture and three views, four rows
