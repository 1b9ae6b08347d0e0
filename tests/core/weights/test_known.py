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
    find,
    given,
    known_as,
    locate,
    misfit,
    missing,
    part_of,
    state,
    verify,
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
    assert find(FILE) is None
    theirs = put(tmp_path / "torch" / "hub" / "checkpoints" / FILE.name)
    assert find(FILE) == theirs
    ours = put(weights_dir() / FILE.name)
    assert find(FILE) == ours == locate(FILE, "loss x")


def test_torchs_folder_is_the_one_that_torch_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from inv3d.core.weights.known import places

    assert places()[1] == Path(torch.hub.get_dir()) / "checkpoints"
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert places()[1] == Path(torch.hub.get_dir()) / "checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert places()[1] == Path(torch.hub.get_dir()) / "checkpoints"


def test_states() -> None:
    assert state(FILE) == "missing"
    path = weights_dir() / FILE.name
    put(part_of(path))
    assert state(FILE) == "part"
    put(path, b"ab")
    assert state(FILE) == "other size"
    assert state(replace(FILE, size=None)) == "here"
    put(path)
    assert state(FILE) == "here"


def test_the_message_says_what_it_is_where_to_get_it_where_to_put_it_and_what_works() -> None:
    with pytest.raises(WeightsError) as error:
        locate(FILE, "generator eg3d")
    assert str(error.value) == (
        "generator eg3d: net-1.pkl (a network) isn't there; run '3dinv weights fetch net-1.pkl', "
        f"or get it from https://example.org/net-1.pkl and put it at {weights_dir() / 'net-1.pkl'}"
        ", or give --weights PATH; minihead needs no file"
    )
    by_hand = str(missing(replace(FILE, url="")))
    assert "get it from https://example.org/page and put" in by_hand and "fetch" not in by_hand
    # the licence stands on the page
    assert "from https://example.org/page" in str(missing(replace(FILE, noncommercial=True)))


def test_a_bare_name_means_the_known_file_and_a_path_always_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = put(tmp_path / "other.pkl")
    assert given(None, [FILE], "x") is None
    assert given(Path("other.pkl"), [FILE], "x") == other
    # a path that isn't there is the plugin's own error
    assert given(Path("nowhere.pkl"), [FILE], "x") == tmp_path / "nowhere.pkl"
    assert given(Path("a/net-1.pkl"), [FILE], "x") == tmp_path / "a" / "net-1.pkl"
    with pytest.raises(WeightsError, match=r"^x: net-1\.pkl \(a network\) isn't there"):
        given(Path("net-1.pkl"), [FILE], "x")
    cached = put(weights_dir() / FILE.name)
    assert given(Path("net-1.pkl"), [FILE], "x") == cached
    here = put(tmp_path / FILE.name)
    assert given(Path("net-1.pkl"), [FILE], "x") == here


def test_weights_for_another_generator_name_both() -> None:
    assert misfit(FILE, "eg3d-ffhq") == ""
    text = misfit(FILE, "eg3d-ffhq-rebalanced")
    assert text.startswith(
        "net-1.pkl is made for eg3d-ffhq, but the generator is eg3d-ffhq-rebalanced: "
    )
    assert misfit(replace(FILE, fits=()), "eg3d-ffhq-rebalanced") == ""


def test_a_converted_file_is_known_by_its_name() -> None:
    assert known_as(Path("/x/net-1.safetensors"), [FILE]) is FILE
    assert known_as(Path("/x/mine.safetensors"), [FILE]) is None
    assert known_as(None, [FILE]) is None


def test_checksums(tmp_path: Path) -> None:
    path = put(tmp_path / "a")
    verify(FILE, path)
    path.write_bytes(b"abd")
    with pytest.raises(WeightsError, match=r"SHA-256 is [0-9a-f]{64}, expected ba7816bf"):
        verify(FILE, path)
    verify(replace(FILE, sha256=""), path)
    with pytest.raises(WeightsError, match=r"gone: can't be read \(No such file"):
        verify(FILE, tmp_path / "gone")
