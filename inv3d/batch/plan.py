"""The plan of a batch, and what its run directories say of every item: done, stopped, or new."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from inv3d.batch.facts import Facts
from inv3d.batch.items import Item
from inv3d.core.config import flatten
from inv3d.core.errors import RunError
from inv3d.core.files import read_json
from inv3d.core.inversion import FILE
from inv3d.io.dataset import is_there
from inv3d.rundir.batch import PART, run_of
from inv3d.rundir.files import METRICS, RECORD, REPORT
from inv3d.runs.prepare import Request

# other: there's a run, but another one than would be made now
State = Literal["new", "done", "stopped", "failed", "other"]
_DIGITS = 16
# what differs from item to item, or changes how a result is made but not what it is
_ASIDE = ("input", "weights", "device", "view_chunk", "checkpoint_every")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What every item of a batch is made by.

    Attributes:
        asked: options, plain values.
        digest: of them, of the generator's fingerprint and of the files that are read, those of
            --init included.
        pictures: whether each run has a report with pictures.
    """

    asked: Mapping[str, Any]
    digest: str
    pictures: bool

    @staticmethod
    def of(request: Request, facts: Facts) -> Plan:
        """Return the plan of a request."""
        asked = {name: value for name, value in asdict(request).items() if name not in _ASIDE}
        asked = json.loads(json.dumps(asked, default=str))
        files = [*facts.files, *facts.init]
        whole = json.dumps([asked, facts.fingerprint, files], sort_keys=True)
        return Plan(asked, _short(hashlib.sha256(whole.encode())), request.pictures)

    def part(self, item: Item) -> dict[str, Any]:
        """Return what `run.json` of an item says of its batch."""
        return {
            "item": item.name,
            "plan": self.digest,
            "asked": dict(self.asked),
            "files": stamp(item.input),
            "content": content(item.input),
        }


@dataclass(frozen=True)
class Found:
    """What is there of an item.

    Attributes:
        state: see `State`.
        why: for "other", what differs, in words; for "done", that its capture is gone.
    """

    state: State
    why: str = ""


def look(out: Path, item: Item, plan: Plan) -> Found:
    """Return what the run directory of an item says; nothing else is asked.

    Raises:
        RunError: where a record can't be read.
    """
    directory = run_of(out, item.name)
    if not (directory / RECORD).is_file():
        return Found("new")
    record = read_json(directory / RECORD)
    part = record.get(PART) if isinstance(record, dict) else None
    if not isinstance(part, dict):
        raise RunError(
            f"{directory}: a run that belongs to no batch is in the way; move it, or choose "
            "another --out"
        )
    if part.get("plan") != plan.digest:
        return Found("other", _difference(part.get("asked"), plan))
    gone = not is_there(item.input)
    if not gone and _is_changed(part, item):
        return Found("other", f"{item.input} has changed")
    status = record.get("status")
    if status == "finished" and is_whole(directory, plan):
        return Found("done", f"{item.input} isn't there any more" if gone else "")
    return Found("failed" if status in ("finished", "failed") else "stopped")


def _is_changed(part: Mapping[str, Any], item: Item) -> bool:
    return part.get("files") != stamp(item.input) and part.get("content") != content(item.input)


def is_whole(directory: Path, plan: Plan) -> bool:
    """Whether a finished run has all its files still."""
    needed = (FILE, METRICS, REPORT) if plan.pictures else (FILE, METRICS)
    return all((directory / name).is_file() for name in needed)


def _difference(before: Any, plan: Plan) -> str:
    """Say what was asked otherwise when a run was made."""
    if not isinstance(before, Mapping):
        return "it was asked for otherwise"
    known = dict(flatten(before))
    for name, value in flatten(plan.asked):
        old = known.get(name)
        if old != value:
            return f"{name} was {_text(old)}, and is {_text(value)} now"
    return (
        "the generator's weights, files of its losses or those of --init have changed, or options "
        "were left out"
    )


def _text(value: Any) -> str:
    return "not given" if value is None else str(value)


def stamp(source: str) -> str:
    """Return what changes when a file of an input is written again: names, sizes and times."""
    return _over(source, lambda path: f"{path.stat().st_size} {path.stat().st_mtime_ns}".encode())


def content(source: str) -> str:
    """Return what changes with the content of an input, wherever and whenever it was written."""
    return _over(source, _file_hash)


def _file_hash(path: Path) -> bytes:
    result = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            result.update(block)
    return result.digest()


def _over(source: str, fact: Callable[[Path], bytes]) -> str:
    """Return a digest of a fact of every file of an input; empty for what is no file here."""
    path, result = Path(source), hashlib.sha256()
    try:
        for file in _files(path):
            name = "" if file == path else file.relative_to(path).as_posix()
            result.update(name.encode(errors="surrogateescape") + b"\0" + fact(file) + b"\0")
    except OSError:  # gone meanwhile, or not to be read: the run will say so
        return ""
    return _short(result) if path.exists() else ""


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield from [path] if path.is_file() else []
        return
    for folder, below, names in os.walk(path):
        below.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _short(digest: Any) -> str:
    text: str = digest.hexdigest()
    return text[:_DIGITS]
