"""Getting known files: licence, offline, where they go."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inv3d.core.errors import UsageError, WeightsError
from inv3d.core.weights import download
from inv3d.core.weights.fetch import fetch
from inv3d.core.weights.known import WeightFile
from tests.web import Server, serving

DATA = random.Random(1).randbytes(70_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("INV3D_OFFLINE", "0")
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    with serving(DATA) as made:
        yield made


def file(server: Server) -> WeightFile:
    return WeightFile(
        name="file.bin",
        purpose="noise",
        licence="CC0",
        page="https://example.org/page",
        url=server.url,
        size=len(DATA),
        sha256=hashlib.sha256(DATA).hexdigest(),
        option="--set losses.x.weights=PATH",
        without="loss y needs none",
    )


def test_a_file_goes_where_it_is_found(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cuts = [1000]
    path = fetch(file(server))
    assert path == tmp_path / "weights" / "file.bin" == file(server).find()
    assert path.read_bytes() == DATA
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == "file.bin: 0 of 0 MB"


def test_a_licence_has_to_be_accepted(server: Server) -> None:
    asked = replace(file(server), noncommercial=True, licence="research only")
    with pytest.raises(UsageError) as error:
        fetch(asked)
    assert str(error.value) == (
        "file.bin: its licence, research only, doesn't allow all uses; read it at "
        "https://example.org/page and, if you accept it, run '3dinv weights fetch --accept-licence "
        "file.bin'"
    )
    assert server.asked == []
    assert fetch(asked, accepted=True).read_bytes() == DATA


def test_offline_says_everything_and_asks_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INV3D_OFFLINE", "1")
    with pytest.raises(WeightsError) as error:
        fetch(file(server), "loss x")
    assert str(error.value).startswith(
        "loss x: file.bin (noise) can't be downloaded (INV3D_OFFLINE is set); get it from "
        f"{server.url} and put it at "
    )
    assert str(error.value).endswith("or give --set losses.x.weights=PATH; loss y needs none")
    assert server.asked == []


def test_a_failure_says_why_and_what_to_do(server: Server) -> None:
    server.statuses = [404]
    with pytest.raises(WeightsError) as error:
        fetch(file(server), "loss x")
    assert "can't be downloaded (HTTP status 404 (Not Found)); get it from " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_without_an_address_is_got_by_hand(server: Server) -> None:
    with pytest.raises(WeightsError, match=r"there's no direct address\); get it from .*/page "):
        fetch(replace(file(server), url=""))
