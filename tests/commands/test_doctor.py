"""`3dinv doctor`: lines for people and programs, and when it fails."""

from __future__ import annotations

import json
import os
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


def rows_beside(folder: Path) -> dict[str, list[dict[str, str]]]:
    """What the doctor says of a machine that finds modules and packages in a folder first."""
    path = os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[2])])
    done = subprocess.run(
        [sys.executable, "-m", "inv3d", "doctor", "--json"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    rows: dict[str, list[dict[str, str]]] = {}
    for row in json.loads(done.stdout):
        rows.setdefault(row["check"], []).append(row)
    return rows


def test_a_torch_that_fails_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "import pathlib; pathlib.Path(__file__).with_name('seen').open('a').write('x')\n"
        "raise OSError('libfoo.so: no such file')"
    )
    rows = rows_beside(tmp_path)
    assert (tmp_path / "seen").read_text() == "x"
    assert rows["PyTorch"][0]["found"] == "can't be imported (libfoo.so: no such file)"
    for check in ("devices", "processor", "embedded generator", "plugins"):
        (row,) = rows[check]
        assert (row["found"], row["fix"]) == ("needs PyTorch", "see the line of PyTorch")
    assert "plugin" not in rows


def test_a_broken_extension_of_torch_is_named_and_the_rest_works(tmp_path: Path) -> None:
    (tmp_path / "other-1.dist-info").mkdir()
    text = "[torch.backends]\nodd = not_there:init\n"
    (tmp_path / "other-1.dist-info" / "entry_points.txt").write_text(text)
    rows = rows_beside(tmp_path)
    good, broken = rows["PyTorch"]
    assert (good["state"], broken["state"]) == ("ok", "warning")
    assert broken["found"].startswith("the PyTorch extension 'odd' of other can't be loaded")
    assert broken["fix"] == "update or uninstall other"
    assert rows["embedded generator"][0]["state"] == "ok"
