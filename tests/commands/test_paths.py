"""Options that take a path: an empty one is refused, and isn't the working directory."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from inv3d.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--weights"),
        ("run", "--input"),
        ("run", "--config"),
        ("run", "--out"),
        ("train", "e4e", "--weights"),
        ("info", "minihead", "--weights"),
        ("eval", "a", "--input"),
        ("render",),
        ("prepare",),
    ],
)
def test_empty_paths_are_refused(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*words, ""])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert "found an empty path, expected that of a file or folder" in line
    assert words[-1] in line
