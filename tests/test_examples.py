"""The examples run, from any folder, and write what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# program -> its arguments and what it leaves in --out
PROGRAMS: dict[str, tuple[list[str], set[str]]] = {
    "01_invert_in_python.py": (
        ["--steps", "3"],
        {"capture", "run", "orbit.png"},
    ),
    "02_own_loss_plugin.py": ([], set()),
    "03_render_from_a_run.py": ([], {"capture", "run", "path.png"}),
}


def test_all_examples_are_here() -> None:
    assert {path.name for path in EXAMPLES.glob("[0-9]*.py")} == set(PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_example(name: str, tmp_path: Path) -> None:
    arguments, written = PROGRAMS[name]
    out = tmp_path / "out"
    if written:
        arguments = [*arguments, "--out", str(out)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INV3D_")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert {path.name for path in out.glob("*")} == written
