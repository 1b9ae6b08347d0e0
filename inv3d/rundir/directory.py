"""The run directory while it's being written: never half a file, resumable at any time."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inv3d.core.errors import RunError, UsageError
from inv3d.core.files import (
    atomic_directory,
    finite,
    json_text,
    not_written,
    write_json,
)
from inv3d.rundir.files import CHECKPOINT, LOG, RECORD
from inv3d.rundir.lock import held
from inv3d.rundir.opening import read_record, way_on
from inv3d.rundir.record import Status, timestamp

if TYPE_CHECKING:
    from inv3d.core.fit.loop import Progress


# what a run that was set aside is called at the end, as nobody calls a directory of their own
_ASIDE = ".set-aside"


class RunDirectory:
    """A directory with `run.json`, the step log and the checkpoint.

    Attributes:
        path: of the directory.
        record: contents of `run.json`.
        new: whether it was made by this process and holds nothing of worth yet.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record
        self.new = False
        self._made: list[Path] = []
        self._filled = False
        self._aside: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint."""
        return self.path / CHECKPOINT

    @staticmethod
    def create(path: Path, record: Mapping[str, Any], *, overwrite: bool = False) -> RunDirectory:
        """Make the directory and write `run.json`.

        Raises:
            RunError: where it exists and mustn't be overwritten (not asked for, no run, or a run
                that another process is writing), or can't be written.
            UsageError: where its path isn't UTF-8.
        """
        path = _true(path)
        _check_free(path, overwrite)
        directory = RunDirectory(path, dict(record))
        try:
            directory._take_place(overwrite=overwrite)
        except OSError as error:
            directory.abandon()
            raise not_written(path, error) from error
        except BaseException:
            directory.abandon()
            raise
        return directory

    def _take_place(self, *, overwrite: bool) -> None:
        """Set aside what is there, and write record and log; what another process made stays."""
        path = self.path
        if overwrite and path.exists() and any(path.iterdir()):
            aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_ASIDE}")
            path.rename(aside)
            self._aside = aside
        self._made = [parent for parent in path.parents if not parent.exists()]
        if path.exists():
            # an empty one may be a mounted place: it's filled, and never removed
            self._claim()
            self._filled = self.new = True
            write_json(path / RECORD, self.record)
            return
        with atomic_directory(path) as temporary:
            self._fill(temporary)
        self.new = True

    def _fill(self, temporary: Path) -> None:
        """Write into a place that appears whole; an error is the place's own."""
        (temporary / RECORD).write_text(json_text(self.record), encoding="utf-8")
        (temporary / LOG).touch()

    def _claim(self) -> None:
        """Write the empty log, which one of several processes does first."""
        try:
            (self.path / LOG).touch(exist_ok=False)
        except FileExistsError:
            raise RunError(
                f"{self.path}: another process has begun a run there; choose another --out"
            ) from None

    @staticmethod
    def reopen(path: Path) -> RunDirectory:
        """Open a directory to go on with its run.

        Raises:
            RunError: where it holds none.
        """
        path = _true(path)
        return RunDirectory(path, read_record(path))

    @property
    def is_finished(self) -> bool:
        """Whether the record says that the run came to its end."""
        return self.record.get("status") == "finished"

    def reread(self) -> None:
        """Read `run.json` again, which another process may have changed meanwhile.

        Raises:
            RunError: where it's gone.
        """
        self.record = read_record(self.path)

    def update(self, **changes: Any) -> None:
        """Change entries of `run.json`."""
        self.record |= changes
        write_json(self.path / RECORD, self.record)

    def enter(self, status: Status, **changes: Any) -> None:
        """Change the status, and other entries with it; an error of the one before is dropped."""
        self.record.pop("error", None)
        self.update(status=status, **changes)

    def finished(self, seconds: Mapping[str, float]) -> None:
        """Everything is written: say so, and drop what was only needed to go on."""
        self.enter("finished", finished=timestamp(), seconds=dict(seconds))
        self.drop_checkpoint()
        self._sweep()  # a run that was resumed has set nothing aside itself

    def drop_checkpoint(self) -> None:
        """Delete what was only needed to go on; a finished run may have died before it did."""
        self.checkpoint.unlink(missing_ok=True)

    def begun(self) -> None:
        """A step was taken, or the result saved: the directory stays, what it replaced goes."""
        if self.new:
            self.new = False
            self._aside = None
            self._sweep()

    def _sweep(self) -> None:
        """Delete what this run set aside, and one that was killed before it took a step."""
        for old in self.path.parent.glob(f".{glob.escape(self.path.name)}.????????{_ASIDE}"):
            shutil.rmtree(old, ignore_errors=True)

    def abandon(self) -> None:
        """Leave no trace of a run that hasn't begun; put back what it was to replace."""
        if self.new:
            self.new = False
            self._remove()
        with contextlib.suppress(OSError):
            for parent in self._made:
                parent.rmdir()
        if self._aside is not None and not self.path.exists():
            with contextlib.suppress(OSError):
                self._aside.rename(self.path)
        self._aside = None

    def _remove(self) -> None:
        if not self._filled:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        with contextlib.suppress(OSError):
            for written in self.path.iterdir():
                if written.is_dir():
                    shutil.rmtree(written, ignore_errors=True)
                else:
                    written.unlink(missing_ok=True)

    def log(self, progress: Progress) -> None:
        """Add a line to the step log, in one write, so that a kill leaves whole lines."""
        line = json.dumps(finite(asdict(progress)), allow_nan=False) + "\n"
        try:
            with (self.path / LOG).open("ab", buffering=0) as file:
                file.write(line.encode())
        except OSError as error:
            raise not_written(self.path / LOG, error) from error

    def cut_log(self, steps: int) -> None:
        """Drop the lines of steps that the checkpoint doesn't know; they'll be taken again."""
        log = self.path / LOG
        try:
            log.touch()
            lines = log.read_bytes().splitlines(keepends=True)[:steps]
            os.truncate(log, sum(map(len, lines)))
        except OSError as error:
            raise not_written(log, error) from error


def _true(path: Path) -> Path:
    """Return the place of a run: what a link leads to is written, not the link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path.absolute()


def check_spared(out: Path, used: Mapping[Path, str]) -> None:
    """Refuse a directory for a new run that would replace what the run is made from.

    Args:
        out: the directory.
        used: directories that must stay, and what each of them is.

    Raises:
        UsageError: where it's one of them, or one of them lies in it.
    """
    place = Path(os.path.realpath(out))
    for path, what in used.items():
        real = Path(os.path.realpath(path))
        if real.is_relative_to(place):
            word = "is" if real == place else "holds"
            raise UsageError(f"--out {out}: {word} {what}, which stays as it is; choose another")


def _remedy(path: Path) -> str:
    """Say how to go on with a run that was left unfinished; empty where there's none."""
    try:
        record = read_record(path)
    except RunError:
        return ""
    status = record.get("status")
    if status in ("running", "interrupted", "failed"):
        return f" and holds an unfinished run; {way_on(record, path)}"
    if status == "unreported":
        return f" and holds a run without its report; make it with '3dinv eval {path} --save'"
    return ""


def _check_free(path: Path, overwrite: bool) -> None:
    """Refuse a path that holds anything but a run that may be replaced, or can't be read back."""
    if any("\udc80" <= c <= "\udcff" for c in str(path)):
        raise UsageError(
            f"--out {str(path)!a}: isn't UTF-8, so safetensors reads no files there; choose another"
        )
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir():
        raise RunError(f"{nearest}: a file is in the way; choose another --out")
    if nearest != path or not any(path.iterdir()):
        return
    if not overwrite:
        raise RunError(
            f"{path}: exists already{_remedy(path)}; choose another --out, or give --overwrite to "
            "replace it"
        )
    if not (path / RECORD).is_file():
        raise RunError(
            f"{path}: --overwrite replaces runs only, and this directory has no {RECORD}; "
            "choose another --out or empty it yourself"
        )
    with held(path):
        pass
