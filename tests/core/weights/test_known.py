"""What is known of weight files, and where they lie."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inv3d.core.errors import WeightsError
from inv3d.core.weights.known import (
    WeightFile,
    known_as,
    part_of,
    resolve_path,
    searched_folders,
    weights_dir,
)

FILE = WeightFile(
    name="net-1.pkl",
    purpose="a network",
    licence="MIT",
    page="https://example.org/page",
    url="https://example.org/net-1.pkl",
    size=3,
    sha256=hashlib.sha256(b"abc").hexdigest(),
    fits=("eg3d-ffhq",),
    option="--weights PATH",
    without="minihead needs no file",
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def put(path: Path, data: bytes = b"abc") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../net.pkl"},
        {"name": "a b"},
        {"sha256": "abc"},
        {"sha256": "A" * 64},
        {"url": "file:///etc/passwd"},
    ],
)
def test_impossible_facts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected a plain file name|hex digits|http address"):
        replace(FILE, **wrong)


def test_the_folder_is_the_users_cache_unless_a_variable_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert weights_dir() == tmp_path / "own"
    monkeypatch.setenv("INV3D_WEIGHTS", "~/here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_dir() == tmp_path / "here"
    monkeypatch.delenv("INV3D_WEIGHTS")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, **_: tmp_path / "cache" / name)
    assert weights_dir() == tmp_path / "cache" / "3dinv" / "weights"


def test_files_are_found_in_our_folder_then_in_that_of_torch(tmp_path: Path) -> None:
    assert FILE.find() is None
    theirs = put(tmp_path / "torch" / "hub" / "checkpoints" / FILE.name)
    assert FILE.find() == theirs
    ours = put(weights_dir() / FILE.name)
    assert FILE.find() == ours == FILE.locate("loss x")


def test_torchs_folder_is_the_one_that_torch_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert searched_folders()[1] == Path(torch.hub.get_dir()) / "checkpoints"
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert searched_folders()[1] == Path(torch.hub.get_dir()) / "checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert searched_folders()[1] == Path(torch.hub.get_dir()) / "checkpoints"


def test_states() -> None:
    assert FILE.state == "missing"
    path = weights_dir() / FILE.name
    put(part_of(path))
    assert FILE.state == "part"
    put(path, b"ab")
    assert FILE.state == "other size"
    assert replace(FILE, size=None).state == "here"
    put(path)
    assert FILE.state == "here"


def test_the_message_says_what_it_is_where_to_get_it_where_to_put_it_and_what_works() -> None:
    with pytest.raises(WeightsError) as error:
        FILE.locate("generator eg3d")
    assert str(error.value) == (
        "generator eg3d: net-1.pkl (a network) isn't there; run '3dinv weights fetch net-1.pkl', "
        f"or get it from https://example.org/net-1.pkl and put it at {weights_dir() / 'net-1.pkl'}"
        ", or give --weights PATH; minihead needs no file"
    )
    by_hand = str(replace(FILE, url="").missing())
    assert "get it from https://example.org/page and put" in by_hand and "fetch" not in by_hand
    # the licence stands on the page
    assert "from https://example.org/page" in str(replace(FILE, noncommercial=True).missing())


def test_a_bare_name_means_the_known_file_and_a_path_always_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = put(tmp_path / "other.pkl")
    assert resolve_path(None, [FILE], "x") is None
    assert resolve_path(Path("other.pkl"), [FILE], "x") == other
    # a path that isn't there is the plugin's own error
    assert resolve_path(Path("nowhere.pkl"), [FILE], "x") == tmp_path / "nowhere.pkl"
    assert resolve_path(Path("a/net-1.pkl"), [FILE], "x") == tmp_path / "a" / "net-1.pkl"
    with pytest.raises(WeightsError, match=r"^x: net-1\.pkl \(a network\) isn't there"):
        resolve_path(Path("net-1.pkl"), [FILE], "x")
    cached = put(weights_dir() / FILE.name)
    assert resolve_path(Path("net-1.pkl"), [FILE], "x") == cached
    here = put(tmp_path / FILE.name)
    assert resolve_path(Path("net-1.pkl"), [FILE], "x") == here


def test_weights_for_another_generator_name_both() -> None:
    assert FILE.misfit("eg3d-ffhq") == ""
    text = FILE.misfit("eg3d-ffhq-rebalanced")
    assert text.startswith(
        "net-1.pkl is made for eg3d-ffhq, but the generator is eg3d-ffhq-rebalanced: "
    )
    assert replace(FILE, fits=()).misfit("eg3d-ffhq-rebalanced") == ""


def test_a_converted_file_is_known_by_its_name() -> None:
    assert known_as(Path("/x/net-1.safetensors"), [FILE]) is FILE
    assert known_as(Path("/x/mine.safetensors"), [FILE]) is None
    assert known_as(None, [FILE]) is None


def test_checksums(tmp_path: Path) -> None:
    path = put(tmp_path / "a")
    FILE.verify(path)
    path.write_bytes(b"abd")
    with pytest.raises(WeightsError, match=r"SHA-256 is [0-9a-f]{64}, expected ba7816bf"):
        FILE.verify(path)
    replace(FILE, sha256="").verify(path)
    with pytest.raises(WeightsError, match=r"gone: can't be read \(No such file"):
        FILE.verify(tmp_path / "gone")
