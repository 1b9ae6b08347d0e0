"""`3dinv doctor`: lines for people and programs, and when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from inv3d.cli import main


def test_lines_for_people() -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["state", "check", "found"]
    (python,) = [line for line in lines if " Python " in line]
    assert python.split()[0] == "ok"
    assert any(line.strip().startswith("-> only to use it: 3dinv weights fetch") for line in lines)


def test_lines_for_programs_and_no_generator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "inv3d.plugins.generators.minihead.asset"
    monkeypatch.setattr(name, lambda file: tmp_path / file)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 1
    assert result.stderr == (
        "error: the embedded generator can't run here; see its line for what to do\n"
    )
    rows = {row["check"]: row for row in json.loads(result.stdout)}
    broken = rows["embedded generator"]
    assert (broken["state"], broken["fatal"]) == ("missing", True)
    assert "minihead.safetensors: no such file" in broken["found"]
    assert [name for name, row in rows.items() if row["fatal"]] == ["embedded generator"]


def test_without_torch_there_are_still_lines() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from inv3d.cli import main; main(['doctor', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the embedded generator can't run here")
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert rows["PyTorch"]["state"] == "missing" and "pip install" in rows["PyTorch"]["fix"]
    assert rows["Python"]["state"] == "ok"
    assert rows["embedded generator"]["fatal"]
