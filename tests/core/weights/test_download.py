"""Downloads from a server that cuts connections, forgets what it sent, and lies."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inv3d.core.errors import RunError, WeightsError
from inv3d.core.weights import download as module
from inv3d.core.weights.download import download
from inv3d.core.weights.known import part_of
from tests.children import WARM, started
from tests.web import Server, serving

DATA = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(DATA) as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.bin"


# no pause between attempts
get = partial(download, wait=0.0)


def left(path: Path) -> list[str]:
    """What is in the folder of a download."""
    return sorted(item.name for item in path.parent.iterdir())


def interrupted(server: Server, path: Path, after: int, **options: Any) -> None:
    """Leave a part behind, as a kill does."""

    class Killed(BaseException):
        pass

    def report(done: int, total: int | None) -> None:
        if done:
            raise Killed

    server.cuts = [after]
    with pytest.raises(Killed):
        get(server.url, path, report=report, **options)
    assert part_of(path).stat().st_size == after
    server.asked.clear()


def test_a_file_comes_whole_with_its_progress(server: Server, path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    get(server.url, path, report=lambda *now: seen.append(now))
    assert path.read_bytes() == DATA
    assert left(path) == ["file.bin"]
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_connection_that_is_cut_goes_on_where_it_was(server: Server, path: Path) -> None:
    server.cuts = [100_000, 50_000, 0, 1]
    get(server.url, path, sha256=SHA256)
    assert path.read_bytes() == DATA
    assert server.asked == [
        "", "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150001-"
    ]  # fmt: skip


def fetch(url: str, path: Path, until: int, came: Connection | None) -> None:
    """Download in a process of its own, which says that so many bytes came, and waits."""
    os.environ["no_proxy"] = "*"

    def report(done: int, total: int | None) -> None:
        if came is not None and done >= until:
            came.send(done)
            threading.Event().wait()

    get(url, path, report=report)


def test_a_killed_download_goes_on_in_another_process(server: Server, path: Path) -> None:
    server.cuts = [120_000]
    told, came = WARM.Pipe(duplex=False)
    process = started(fetch, server.url, path, 120_000, came)
    came.close()
    assert told.recv() == 120_000
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert left(path) == [".file.bin.lock", "file.bin.part", "file.bin.part.json"]
    server.asked.clear()
    get(server.url, path)
    assert server.asked == ["bytes=120000-"]
    assert path.read_bytes() == DATA
    assert left(path) == ["file.bin"]


def test_a_server_that_knows_no_parts_sends_it_again(server: Server, path: Path) -> None:
    server.ranges = False
    server.cuts = [100_000]
    get(server.url, path, sha256=SHA256)
    assert path.read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, path: Path) -> None:
    interrupted(server, path, 120_000)
    server.data, server.tag = DATA[::-1], '"two"'
    get(server.url, path)
    assert path.read_bytes() == DATA[::-1]


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_a_part_of_an_unknown_version_is_not_trusted(server: Server, path: Path, tag: str) -> None:
    server.tag = tag
    interrupted(server, path, 120_000)
    server.data = DATA[::-1]
    get(server.url, path)
    assert server.asked == [""]
    assert path.read_bytes() == DATA[::-1]


def test_a_checksum_makes_a_part_of_an_unknown_version_usable(server: Server, path: Path) -> None:
    server.tag = ""
    interrupted(server, path, 120_000)
    get(server.url, path, sha256=SHA256)
    assert server.asked == ["bytes=120000-"]


def test_a_part_that_is_all_there_is_checked_and_used(server: Server, path: Path) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(DATA)
    get(server.url, path, sha256=SHA256)
    assert path.read_bytes() == DATA


def test_a_part_that_is_too_long_is_thrown_away(server: Server, path: Path) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(DATA + b"x")
    get(server.url, path, sha256=SHA256)
    assert path.read_bytes() == DATA


def test_an_answer_without_a_length_is_taken_to_its_end(server: Server, path: Path) -> None:
    server.length = False
    get(server.url, path)
    assert path.read_bytes() == DATA


def test_a_known_size_tells_that_an_answer_without_a_length_was_cut(
    server: Server, path: Path
) -> None:
    server.length = False
    server.cuts = [1000]
    get(server.url, path, size=len(DATA))
    assert path.read_bytes() == DATA
    assert server.asked == ["", "bytes=1000-"]


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"sha256": "0" * 64}, rf"damaged or another file \(SHA-256 {SHA256}, expected 0000"),
        ({"size": 5}, "has 300000 bytes, expected 5: another file"),
    ],
)
def test_another_file_is_refused_and_leaves_nothing(
    server: Server, path: Path, expected: dict[str, Any], said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        get(server.url, path, **expected)
    assert left(path) == []


def test_a_page_for_people_is_refused(server: Server, path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(WeightsError, match="a web page came instead of the file"):
        get(server.url, path)
    assert left(path) == []


def test_a_server_that_is_busy_is_asked_again(server: Server, path: Path) -> None:
    server.statuses = [503]
    get(server.url, path)
    assert path.read_bytes() == DATA


def test_what_isnt_there_isnt_asked_for_again(server: Server, path: Path) -> None:
    server.statuses = [404, 404]
    with pytest.raises(WeightsError, match=r"file\.bin: HTTP status 404 \(Not Found\)$"):
        get(server.url, path)
    assert len(server.asked) == 1


def test_a_server_that_sends_nothing_any_more_is_given_up_and_the_part_kept(
    server: Server, path: Path
) -> None:
    server.cuts = [200_000] + [0] * 20
    with pytest.raises(WeightsError, match=r"connection was cut; 0\.2 MB of it are kept, the next"):
        get(server.url, path)
    assert len(server.asked) == 1 + module._PATIENCE
    server.cuts.clear()
    get(server.url, path)
    assert path.read_bytes() == DATA


def test_no_server_at_all_is_given_up_soon(path: Path) -> None:
    with serving(DATA) as server:
        gone = server.url
    with pytest.raises(WeightsError, match=rf"^{gone}: Connection refused$"):
        get(gone, path)


def test_a_full_disk_is_no_reason_to_ask_again(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**5))
    with pytest.raises(RunError, match=r"written \(0\.3 MB needed, 0\.1 MB free\); free some"):
        get(server.url, path)
    assert len(server.asked) == 1


def test_two_processes_that_want_one_file_fetch_it_once(server: Server, path: Path) -> None:
    both = [started(fetch, server.url, path, 0, None) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert server.asked == [""]
    assert path.read_bytes() == DATA
    assert left(path) == ["file.bin"]


def test_a_note_of_something_else_is_no_version(server: Server, path: Path) -> None:
    interrupted(server, path, 120_000)
    note = part_of(path).with_name("file.bin.part.json")
    assert json.loads(note.read_text()) == {"url": server.url, "version": '"one"'}
    note.write_text("[")
    get(server.url, path)
    assert server.asked == [""]
    assert path.read_bytes() == DATA
