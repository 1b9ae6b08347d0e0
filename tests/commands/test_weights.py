"""`3dinv weights` with a plugin whose files come from a server on this machine."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from inv3d.cli import main
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.known import WeightFile
from inv3d.plugins.losses.pixel import MSE
from tests.web import Server, serving

DATA = random.Random(2).randbytes(50_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("INV3D_OFFLINE", "")
    with serving(DATA) as made:
        common = {"purpose": "noise", "licence": "CC0", "page": "https://example.org"}
        files = (
            WeightFile(name="free.bin", url=made.url, sha256=SHA256, size=len(DATA), **common),
            WeightFile(name="asked.bin", url=made.url, noncommercial=True, **common),
        )

        class Noisy(MSE):
            name = "noisy"
            api = "1.0"
            weights: ClassVar[tuple[WeightFile, ...]] = files

        module = types.ModuleType("thrown_away_weights")
        module.Noisy = Noisy  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setenv(
            "INV3D_PLUGINS", f"losses:noisy={module.__name__}:Noisy,losses:gone=no_such_module:X"
        )
        registry.cache_clear()
        yield made
    registry.cache_clear()


def weights(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["weights", *arguments], input=typed)


def listed() -> dict[str, Any]:
    result = weights("list", "--json")
    assert result.exit_code == 0, result.stderr
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_every_file_of_every_plugin_is_listed_once(server: Server, tmp_path: Path) -> None:
    found = listed()
    assert {"ffhqrebalanced512-128.pkl", "model_ir_se50.pth", "vgg16.pt"} < set(found)
    for name, fits in (
        ("easy-khair-180-gpc0.8-trans10-025000.pkl", "panohead-head"),
        ("var3-128.pkl", "eg3d-lpff"),
    ):
        assert (found[name]["fits"], found[name]["size"]) == ([fits], None)
    assert found["free.bin"] == {
        **{"name": "free.bin", "purpose": "noise", "licence": "CC0"},
        **{"page": "https://example.org", "url": server.url, "size": len(DATA)},
        **{"sha256": SHA256, "noncommercial": False, "fits": [], "option": "--weights PATH"},
        **{"without": "", "used_by": ["loss noisy"], "state": "missing", "path": None},
    }
    weights("fetch", "free.bin")
    path = str(tmp_path / "weights" / "free.bin")
    assert (listed()["free.bin"]["state"], listed()["free.bin"]["path"]) == ("here", path)


def test_the_table_says_what_has_to_be_accepted_and_where_files_go(
    server: Server, tmp_path: Path
) -> None:
    text = weights("list").stdout
    assert re.search(r"^asked\.bin .*\n\?, missing ", text, re.MULTILINE)
    assert max(map(len, text[: text.index("folder: ")].splitlines())) <= 80
    assert "licence: CC0 *" in text
    assert "fits: eg3d-ffhq-rebalanced, eg3d-ffhq" in text
    assert f"folder: {tmp_path / 'weights'}\n" in text


def test_paths_are_for_other_commands(server: Server, tmp_path: Path) -> None:
    assert weights("path").stdout == f"{tmp_path / 'weights'}\n"
    gone = weights("path", "free.bin")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "run '3dinv weights fetch free.bin'" in gone.stderr
    weights("fetch", "free.bin")
    assert weights("path", "free.bin").stdout == f"{tmp_path / 'weights' / 'free.bin'}\n"


def test_an_unknown_name_is_answered_with_the_nearest(server: Server) -> None:
    for command in ("path", "fetch", "verify"):
        result = weights(command, "fre.bin")
        assert result.exit_code == 2
        assert result.stderr == (
            "error: no plugin knows a weight file 'fre.bin'; did you mean 'free.bin'?; see '3dinv "
            "weights list'\n"
        )


def test_fetched_files_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights" / "free.bin"
    for _ in range(2):
        result = weights("fetch", "free.bin", "--json")
        assert json.loads(result.stdout) == {"free.bin": str(path)}
    assert path.read_bytes() == DATA
    assert len(server.asked) == 1


def test_a_damaged_file_is_not_taken_for_fetched(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights" / "free.bin"
    path.parent.mkdir()
    for data, said in ((DATA[:-1], "49999 bytes, expected 50000"), (bytes(50_000), "SHA-256 is")):
        path.write_bytes(data)
        result = weights("fetch", "free.bin")
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"free.bin: {said}" in result.stderr and "delete it and run" in result.stderr
    (path.parent / "asked.bin").write_bytes(b"<!DOCTYPE html>")
    assert "a web page, not the file" in weights("fetch", "asked.bin").stderr


def test_a_script_has_to_accept_a_licence(server: Server, tmp_path: Path) -> None:
    refused = weights("fetch", "free.bin", "asked.bin", typed="y\n")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--accept-licence asked.bin" in refused.stderr
    assert server.asked == []
    accepted = weights("fetch", "asked.bin", "--accept-licence")
    assert accepted.stdout == f"{tmp_path / 'weights' / 'asked.bin'}\n"
    # what is here needs no answer
    assert weights("fetch", "asked.bin").exit_code == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_a_person_is_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("inv3d.commands.weights._interactive", lambda: True)
    result = weights("fetch", "asked.bin", typed=answer)
    assert result.exit_code == code, result.stderr
    assert "asked.bin: CC0" in result.stderr and "https://example.org" in result.stderr
    assert len(server.asked) == (code == 0)


def test_verification(server: Server, tmp_path: Path) -> None:
    assert weights("verify").stdout == "none of the known files is here\n"
    assert weights("verify", "free.bin").exit_code == 1
    weights("fetch", "--accept-licence", "free.bin", "asked.bin")
    good = weights("verify", "--json")
    assert good.exit_code == 0
    results = {row["name"]: (row["result"], row["sha256"]) for row in json.loads(good.stdout)}
    assert results == {
        "free.bin": ("as published", SHA256),
        "asked.bin": ("no checksum known", SHA256),
    }
    (tmp_path / "weights" / "free.bin").write_bytes(DATA[:-1])
    assert listed()["free.bin"]["state"] == "other size"
    bad = weights("verify")
    assert bad.exit_code == 1
    assert "differs" in bad.stdout
    assert "error: free.bin: missing, damaged or another file" in bad.stderr


@pytest.mark.parametrize(
    ("data", "what"), [(b"<!DOCTYPE html>", "a web page, not the file"), (b"", "an empty file")]
)
def test_what_no_weights_are_is_told_without_a_checksum(
    server: Server, tmp_path: Path, data: bytes, what: str
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "asked.bin").write_bytes(data)
    assert listed()["asked.bin"]["state"] == "other file"
    result = weights("verify", "asked.bin")
    assert result.exit_code == 1 and "differs" in result.stdout
    assert f"error: asked.bin ({what}" in result.stderr
    assert "weights fetch asked.bin" in result.stderr
    (tmp_path / "weights" / "asked.bin").write_bytes(pickle.dumps({"a": 1}))
    assert weights("verify", "asked.bin").exit_code == 0


def test_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_OFFLINE", "1")
    result = weights("fetch", "free.bin")
    assert result.exit_code == 1
    assert "INV3D_OFFLINE is set" in result.stderr and "put it at" in result.stderr
