"""What installed 3dinv, what keeps plugins, and plugins that are known but not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from inv3d.core.registry.installer import installer, keeping, requirement
from inv3d.core.registry.known_plugins import KNOWN, known_reader, missing_plugins
from inv3d.core.registry.record import KINDS, PluginRecord


@pytest.mark.parametrize(
    ("place", "file", "found"),
    [
        ("uv/tools/3dinv", "", "uv tool"),
        ("elsewhere", "uv-receipt.toml", "uv tool"),
        ("pipx/venvs/3dinv", "", "pipx"),
        ("elsewhere", "pipx_metadata.json", "pipx"),
    ],
)
def test_the_installer_is_told_by_the_environment(
    tmp_path: Path, place: str, file: str, found: str
) -> None:
    prefix = tmp_path / place
    prefix.mkdir(parents=True)
    if file:
        (prefix / file).touch()
    assert installer(prefix) == found
    assert installer(tmp_path, "no-such-distribution") == "pip"


def test_the_line_that_keeps_plugins_is_that_of_the_installer() -> None:
    mine = ["inv3d-a", "inv3d-b"]
    assert keeping("uv tool", mine) == (
        "uv tool install --upgrade 3dinv --with inv3d-a --with inv3d-b"
    )
    assert keeping("pipx", mine) == "pipx inject 3dinv inv3d-a inv3d-b"
    assert keeping("pip", mine).endswith("pip install -r plugins.txt")


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        ("", "dist-a==1.0"),
        ('{"url": "file:///somewhere", "dir_info": {}}', "dist-a @ file:///somewhere"),
        (
            '{"url": "https://x.org/a", "vcs_info": {"vcs": "git", "commit_id": "abc"}}',
            "dist-a @ git+https://x.org/a@abc",
        ),
        ("{", "dist-a==1.0"),
    ],
)
def test_a_requirement_says_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, line: str
) -> None:
    info = tmp_path / "dist_a-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist-a\nVersion: 1.0\n")
    if origin:
        (info / "direct_url.json").write_text(origin)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert requirement("dist-a") == line


def test_known_plugins_that_are_there_arent_missing() -> None:
    first = KNOWN[0]
    there = PluginRecord(first.name, first.kind, first.distribution, "1", "a:B")
    assert missing_plugins([there]) == list(KNOWN[1:])
    assert all(known.kind in KINDS and "pip install" in known.install for known in KNOWN)


def test_a_network_is_told_by_the_names_of_its_tensors() -> None:
    (known,) = [known for known in KNOWN if known.tensors]
    assert known_reader([*known.tensors, "more"]) is known
    assert known_reader(known.tensors[:1]) is None
