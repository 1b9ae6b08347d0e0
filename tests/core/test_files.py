"""Files appear whole or not at all, and say why they can't be written."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from inv3d.core.errors import RunError
from inv3d.core.files import (
    atomic_directory,
    atomic_write,
    read_json,
    write_json,
    write_text,
)


def test_a_file_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == path.parent
        temporary.write_text("hello")
        assert not path.exists()
    assert path.read_text() == "hello"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises((error, RunError)), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    for name, target in (("link", "a.txt"), ("dangling", "new.txt")):
        (tmp_path / name).symlink_to(target)
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target).read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "dangling", "link", "new.txt"]


def test_a_pipe_stays_one_and_gets_the_contents(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "hello")
        assert os.read(reader, 100) == b"hello"
        # what stdout is called where it's a pipe leads to no path at all
        write_text(Path(f"/proc/self/fd/{reader}"), "again")
        assert os.read(reader, 100) == b"again"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
        with atomic_directory(tmp_path / "d"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError) as error:
        write_text(tmp_path / "a.txt", "x")
    assert str(error.value) == (
        f"{tmp_path / 'a.txt'}: can't be written (No space left on device); "
        "free some space or choose another place"
    )
    assert os.listdir(tmp_path) == []


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Let the system refuse to write more than 4 KiB into any file.

    Standard output may be such a file: nothing may be printed meanwhile.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)


def test_a_write_that_the_system_refuses_leaves_nothing(tmp_path: Path) -> None:
    refused = pytest.raises(RunError, match=r"a\.txt: can't be written \(File too large\)")
    with refused, small_files():
        write_text(tmp_path / "a.txt", "x" * 10_000)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="can't be written"):
        write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(RunError, match="can't be written"), atomic_directory(tmp_path / "file/d"):
        pass


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    name = "x" * 300
    with pytest.raises(RunError, match=r"can't be written.*choose another place"):
        write_text(tmp_path / name, "x")
    with pytest.raises(RunError, match="can't be written"), atomic_directory(tmp_path / name):
        pass


def test_json_without_numbers_that_arent_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [1.5, float("nan"), (float("inf"),)], 2: {"b": None}})
    assert read_json(path) == {"a": [1.5, None, [None]], "2": {"b": None}}


def test_bytes_that_arent_utf8_are_spelt_out(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_text(tmp_path / name, name)
    assert (tmp_path / name).read_text() == "caf\\udce9"
    write_json(tmp_path / "a.json", name)
    assert read_json(tmp_path / "a.json") == name


def test_json_that_cant_be_read(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a\.json: can't be read \(No such file or directory\)"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RunError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_a_directory_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "d") as temporary:
        (temporary / "a").write_text("x")
    assert [p.name for p in tmp_path.rglob("*")] == ["d", "a"]
    with pytest.raises(RunError, match="exists already"), atomic_directory(tmp_path / "d"):
        pass
    with pytest.raises(ValueError, match="half"), atomic_directory(tmp_path / "e") as temporary:
        (temporary / "a").write_text("x")
        raise ValueError("half")
    assert os.listdir(tmp_path) == ["d"]
