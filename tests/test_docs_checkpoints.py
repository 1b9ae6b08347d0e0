"""The page about own checkpoints, followed literally."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from inv3d.cli import main
from inv3d.core.inversion import Inversion

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "checkpoints.md"


@pytest.mark.slow
def test_the_page_works_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample capture is inverted with the official-format network on the way."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(lines) == 8
    for program, *words in lines:
        if program == "cp":
            shutil.copy(ROOT / words[0], words[1])
            continue
        assert program == "3dinv"
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, (words, result.stderr)
    assert Path("own.png").stat().st_size > 1000
    there, back = Inversion.load(Path("runs/own")), Inversion.load(Path("runs/back"))
    assert np.array_equal(there.ws.numpy(), back.ws.numpy())
    np.testing.assert_allclose(there.cameras.labels().numpy(), back.cameras.labels().numpy())
    assert there.fingerprint == back.fingerprint and there.generator_delta
