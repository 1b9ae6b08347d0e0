"""Extensions of PyTorch that others installed: what is wrong with one is no error of torch's."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from pathlib import Path

import pytest

from inv3d.core.registry.tolerance import BrokenBackend, tolerant_metadata

MODULE = """
def init(): pass
def fails(): raise RuntimeError("no such device")
def ends(): raise SystemExit
"""


def load(folder: Path, value: str) -> None:
    """Load the extension of a package as torch does."""
    (folder / "other_backend.py").write_text(MODULE)
    about = folder / "other_tool-1.0.dist-info"
    about.mkdir()
    (about / "entry_points.txt").write_text(f"[torch.backends]\nodd = {value}\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-tool\nVersion: 1.0\n")
    with tolerant_metadata():
        (point,) = importlib.metadata.entry_points(group="torch.backends")
        point.load()()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "other_backend", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("not_there:init", "ModuleNotFoundError: No module named 'not_there'"),
        ("other_backend:none", "AttributeError: module 'other_backend' has no attribute 'none'"),
        ("other_backend:fails", "RuntimeError: no such device"),
        ("other_backend:ends", "SystemExit: "),
    ],
)
def test_one_that_fails_is_a_warning_that_names_its_package(
    site: Path, value: str, reason: str
) -> None:
    with pytest.warns(BrokenBackend) as said:
        load(site, value)
    assert str(said[0].message) == (
        f"the PyTorch extension 'odd' of other-tool can't be loaded ({reason}); "
        "update or uninstall other-tool"
    )


def test_a_good_one_is_called(site: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(site, "other_backend:init")
    assert "other_backend" in sys.modules
