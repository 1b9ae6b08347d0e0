"""Run directories: made, given up, replaced, reopened; the log is always whole lines."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from inv3d.core.errors import RunError, UsageError
from inv3d.core.files import read_json
from inv3d.core.fit.loop import Progress
from inv3d.rundir.directory import RunDirectory, check_spared
from inv3d.rundir.files import LOG, RECORD
from inv3d.rundir.log import read_log

RECORD_OF = {"status": "running"}


def step(number: int) -> Progress:
    return Progress("latent", number, 10, {"total": 1 / (number + 1)}, 0.1, 0.01)


def names(path: Path) -> list[str]:
    return sorted(item.name for item in path.iterdir())


def test_a_new_directory_holds_record_and_log(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "a" / "b", RECORD_OF)
    assert names(tmp_path / "a" / "b") == [RECORD, LOG]
    directory.update(status="finished", n=1)
    assert read_json(directory.path / RECORD) == {"status": "finished", "n": 1}


def test_a_kill_while_it_is_made_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    RunDirectory.create(path, {"status": "old"})

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        # nothing is cleaned up after a kill
        monkeypatch.setattr(RunDirectory, "abandon", lambda self: None)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("inv3d.rundir.directory.json_text", killed)
        with pytest.raises(Killed):
            RunDirectory.create(path, RECORD_OF, overwrite=True)
    assert not path.exists()
    assert RunDirectory.create(path, RECORD_OF).record == RECORD_OF


def test_giving_up_leaves_no_trace(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "a" / "b", RECORD_OF).abandon()
    assert names(tmp_path) == []


def test_what_a_run_is_made_from_is_spared(tmp_path: Path) -> None:
    (tmp_path / "a" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    kept = {tmp_path / "a": "the run itself"}
    for out in ("a", "link", "new/../a", "a/inner/.."):
        with pytest.raises(UsageError, match="is the run itself, which stays as it is"):
            check_spared(tmp_path / out, kept)
    with pytest.raises(UsageError, match="holds the run itself"):
        check_spared(tmp_path, kept)
    for out in ("b", "ab", "a/inner"):
        check_spared(tmp_path / out, kept)


def test_after_a_step_nothing_is_given_up(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "a", RECORD_OF)
    directory.begun()
    directory.abandon()
    assert names(tmp_path) == ["a"]


def test_an_error_belongs_to_the_status_before(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "a", RECORD_OF)
    directory.enter("unreported", error="no colours", seconds={"latent": 1.0})
    assert read_json(directory.path / RECORD)["error"] == "no colours"
    directory.checkpoint.touch()
    directory.finished({"latent": 1.0, "metrics": 2.0})
    found = read_json(directory.path / RECORD)
    assert found.pop("finished")
    assert found == {"status": "finished", "seconds": {"latent": 1.0, "metrics": 2.0}}
    assert names(directory.path) == [RECORD, LOG]


def test_an_empty_directory_is_used_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir(mode=0o750)
    # as of a mounted place, which can't be moved or removed
    same = path.stat().st_ino, path.stat().st_mode
    directory = RunDirectory.create(path, RECORD_OF)
    (path / "pictures").mkdir()
    directory.abandon()
    assert names(path) == []
    RunDirectory.create(path, RECORD_OF).begun()
    assert names(tmp_path) == ["a"]
    assert (path.stat().st_ino, path.stat().st_mode) == same


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_replaced(tmp_path: Path, there: bool) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to("disk/a")
    if there:
        RunDirectory.create(tmp_path / "disk" / "a", {"status": "old"}).begun()
    RunDirectory.create(link, RECORD_OF, overwrite=there).begun()
    assert link.is_symlink()
    assert names(tmp_path) == ["disk", "link"]
    assert names(tmp_path / "disk") == ["a"]
    assert read_json(link / RECORD) == RECORD_OF


def test_what_a_killed_run_set_aside_goes_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "[a]"
    RunDirectory.create(path, {"status": "old"}).begun()
    RunDirectory.create(path, RECORD_OF, overwrite=True)  # and killed
    assert len(names(tmp_path)) == 2
    RunDirectory(path, RECORD_OF).finished({})
    assert names(tmp_path) == ["[a]"]


def test_what_can_not_be_set_aside_stays(tmp_path: Path) -> None:
    path = tmp_path / ("m" * 245)  # with a mark behind it longer than file names may be
    path.mkdir()
    (path / RECORD).write_text("{}")
    (path / "inversion.safetensors").write_text("x")
    with pytest.raises(RunError, match="can't be written"):
        RunDirectory.create(path, RECORD_OF, overwrite=True)
    assert names(path) == ["inversion.safetensors", RECORD]


@pytest.mark.parametrize("empty", [True, False])
def test_of_two_that_begin_at_once_one_is_left_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: bool
) -> None:
    path = tmp_path / "a"
    if empty:
        path.mkdir()
    with monkeypatch.context() as patch:
        # both have looked before either of them writes
        patch.setattr("inv3d.rundir.directory._check_free", lambda *_: None)
        first = RunDirectory(path, RECORD_OF)
        second = RunDirectory(path, {"status": "second"})
        place = "_claim" if empty else "_fill"
        wait = getattr(RunDirectory, place)

        def late(self: RunDirectory, *arguments: Any) -> None:
            patch.setattr(RunDirectory, place, wait)
            first._take_place(overwrite=False)
            (path / "checkpoint.safetensors").touch()
            wait(self, *arguments)

        patch.setattr(RunDirectory, place, late)
        with pytest.raises((RunError, OSError)):
            second._take_place(overwrite=False)
        second.abandon()
    assert names(path) == ["checkpoint.safetensors", RECORD, LOG]
    assert read_json(path / RECORD) == RECORD_OF
    assert names(tmp_path) == ["a"]


def test_what_exists_is_refused(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "a", RECORD_OF)
    with pytest.raises(RunError, match=r"a: exists already; choose another --out, or give --over"):
        RunDirectory.create(tmp_path / "a", RECORD_OF)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file: a file is in the way"):
        RunDirectory.create(tmp_path / "file", RECORD_OF, overwrite=True)


def test_only_runs_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("x")
    with pytest.raises(RunError, match=r"photos: --overwrite replaces runs only"):
        RunDirectory.create(tmp_path / "photos", RECORD_OF, overwrite=True)
    assert names(tmp_path / "photos") == ["a.png"]


@pytest.mark.parametrize("goes_well", [True, False])
def test_the_old_run_goes_when_the_new_one_takes_a_step(tmp_path: Path, goes_well: bool) -> None:
    path = tmp_path / "a"
    RunDirectory.create(path, {"status": "old"})
    directory = RunDirectory.create(path, {"status": "new"}, overwrite=True)
    if goes_well:
        directory.begun()
    else:
        directory.abandon()
    assert read_json(path / RECORD)["status"] == ("new" if goes_well else "old")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    path = tmp_path / "a"
    if overwrite:
        RunDirectory.create(path, {"status": "old"})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(RunError, match="No space left on device"):
            RunDirectory.create(path, RECORD_OF, overwrite=overwrite)
    if overwrite:
        assert read_json(path / RECORD) == {"status": "old"}
        assert names(tmp_path) == ["a"]
    else:
        assert names(tmp_path) == []


def test_a_place_that_cant_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file: a file is in the way; choose another --out"):
        RunDirectory.create(tmp_path / "file" / "a", RECORD_OF)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(RunError, match=r"b: can't be written \(Permission denied\)"):
        RunDirectory.create(tmp_path / "b", RECORD_OF)


def test_the_log_is_cut_to_what_the_checkpoint_knows(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "a", RECORD_OF)
    for number in range(5):
        directory.log(step(number))
    with (directory.path / LOG).open("a") as file:
        file.write('{"stage": "lat')
    directory.cut_log(3)
    directory.log(step(3))
    rows = read_log(directory.path / LOG)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    directory.cut_log(99)
    assert len(read_log(directory.path / LOG)) == 4
    (directory.path / LOG).unlink()
    directory.cut_log(0)
    assert read_log(directory.path / LOG) == []


def test_a_log_that_cant_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory.create(tmp_path / "a", RECORD_OF)

    def full(*_: object, **__: object) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(RunError, match=r"steps\.jsonl: can't be written \(No space left"):
        directory.log(step(0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no run.json, so it's no run"),
        ("{", "not valid JSON"),
        ("[]", "not the record of a run"),
        ('{"status": "running"}', "not the record of a run"),
    ],
)
def test_what_cant_be_reopened(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / RECORD).write_text(content)
    with pytest.raises(RunError, match=said):
        RunDirectory.reopen(tmp_path)
