"""What installed distributions declare, in every state that they can be in."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inv3d.core.registry import metadata
from inv3d.core.registry.metadata import Declared, declared

POINTS = "[inv3d.losses]\nmine = mine:Mine\n"
OTHERS = "[console_scripts]\nother = other:main\n"
METADATA = "Metadata-Version: 2.1\nName: inv3d-mine\nVersion: 0.2\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(site: Path, points: bytes | None, about: bytes | None = METADATA.encode()) -> Path:
    folder = site / "inv3d_mine-0.2.dist-info"
    folder.mkdir()
    if points is not None:
        (folder / "entry_points.txt").write_bytes(points)
    if about is not None:
        (folder / "METADATA").write_bytes(about)
    return folder


def test_a_good_one(site: Path) -> None:
    install(site, POINTS.encode())
    assert list(declared()) == [Declared("inv3d-mine", "0.2", POINTS)]


def test_a_byte_order_mark_is_no_harm(site: Path) -> None:
    install(site, POINTS.encode("utf-8-sig"))
    assert list(declared()) == [Declared("inv3d-mine", "0.2", POINTS)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_another_encoding_is_a_fault_where_it_may_be_ours(site: Path, encoding: str) -> None:
    install(site, ("# caf\xe9\n" + POINTS).encode(encoding))
    (found,) = declared()
    assert found.distribution == "inv3d-mine"
    assert found.fault == "its entry_points.txt isn't UTF-8 text; write it again as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "latin-1"])
def test_another_encoding_of_others_is_nothing_to_us(site: Path, encoding: str) -> None:
    install(site, ("# caf\xe9\n" + OTHERS).encode(encoding))
    assert list(declared()) == []


def test_utf_16_without_a_letter_that_utf_8_refuses_isnt_overlooked(site: Path) -> None:
    install(site, POINTS.encode("utf-16-le"))
    (found,) = declared()
    assert found.fault


@pytest.mark.parametrize(
    ("about", "name", "version"),
    [
        (None, "inv3d_mine", ""),
        (b"", "inv3d_mine", ""),
        (b"Metadata-Version: 2.1\nVersion: 0.2\n", "inv3d_mine", "0.2"),
        (b"Name: inv3d-mine\n", "inv3d-mine", ""),
        (b"Name: caf\xe9\n", "inv3d_mine", ""),
    ],
)
def test_metadata_that_lack_something(
    site: Path, about: bytes | None, name: str, version: str
) -> None:
    install(site, POINTS.encode(), about)
    assert list(declared()) == [Declared(name, version, POINTS)]


def test_folders_in_the_place_of_files(site: Path) -> None:
    folder = install(site, None, None)
    (folder / "entry_points.txt").mkdir()
    (folder / "METADATA").mkdir()
    assert list(declared()) == []
    (folder / "entry_points.txt").rmdir()
    (folder / "entry_points.txt").write_text(POINTS)
    assert list(declared()) == [Declared("inv3d_mine", "", POINTS)]


def test_a_file_that_may_not_be_read_may_be_ours(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    install(site, POINTS.encode(), None)
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    (found,) = declared()
    assert found.distribution == "inv3d_mine"
    assert found.fault == (
        "its entry_points.txt can't be read (Permission denied); correct its permissions"
    )


class Odd(importlib.metadata.Distribution):
    """A distribution of an importer that fails in every way."""

    def read_text(self, filename: str) -> str | None:
        raise RuntimeError("bad disk\nsector 7")

    def locate_file(self, path: Any) -> Any:
        raise RuntimeError


def test_importers_of_others_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def search() -> Any:
        yield Odd()
        raise ValueError("the rest is lost")

    monkeypatch.setattr(metadata.importlib.metadata, "distributions", search)
    assert list(declared()) == [
        Declared("unknown", "", "", "its entry_points.txt can't be read (RuntimeError: bad disk)")
    ]


STATES = {
    "latin-1": (OTHERS + "# caf\xe9").encode("latin-1"),
    "utf-16": POINTS.encode("utf-16"),
    "unparsable": b"[inv3d.losses]\noops\n",
    "nothing": b"",
}


def test_none_of_them_stops_a_command(tmp_path: Path) -> None:
    for name, points in STATES.items():
        folder = tmp_path / f"inv3d_{name}-1.dist-info"
        folder.mkdir()
        (folder / "entry_points.txt").write_bytes(points)
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r}); from inv3d.cli import main; "
        "main(sys.argv[1:])"
    )
    for words in (
        ["--help"],
        ["list-plugins", "--kind", "losses", "--no-check", "--json"],
        ["info", "mse"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        if words[0] == "list-plugins":
            rows = {row["distribution"]: row["reason"] for row in json.loads(done.stdout)}
            assert "UTF-8" in rows["inv3d_utf"] and "inv3d_latin" not in rows
            assert "can't be parsed" in rows["inv3d_unparsable"]
