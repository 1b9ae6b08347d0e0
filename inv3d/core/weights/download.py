"""Downloads that survive a cut connection, a kill and a restart."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from inv3d import __version__
from inv3d.core.errors import WeightsError
from inv3d.core.files import file_digest, not_written
from inv3d.core.lock import locked
from inv3d.core.weights.known import part_of

# bytes that are there, and all bytes where the server says it
Report = Callable[[int, int | None], None]

_BLOCK = 1 << 18
_SECONDS = 30.0
# attempts in a row that brought nothing: where the server never answered, and where it did before
_PATIENCE_FIRST, _PATIENCE = 2, 5
_LONGEST_WAIT = 20.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_RANGE_REFUSED = 416
_PARTIAL = 206


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str = "",
    report: Report = lambda done, total: None,
    wait: float = 1.0,
) -> None:
    """Fetch a file, whole or not at all.

    What came before an interruption stays beside the file, and the next attempt, also that of
    another process, asks for the rest only. A server that can't send a rest, or whose file has
    changed meanwhile, sends it from the beginning.

    Args:
        url: http or https.
        path: where the file goes.
        size: bytes that it must have, where known.
        sha256: 64 hex digits that it must have, where known.
        report: called with what is there, while it comes.
        wait: seconds before the second attempt, doubled for each further one.

    Raises:
        WeightsError: where the server doesn't have it, nothing comes any more, or something else
            comes than what was expected.
        RunError: where it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(path, error) from error
    with locked(path.with_name(f".{path.name}.lock"), wait=True):
        if not path.is_file():
            _Transfer(url, path, size, sha256, report).run(wait)


class _Transfer:
    """One file on its way.

    Attributes:
        part: what is there so far.
        note: beside it, where it comes from, and which version of the server's file it is.
        total: bytes of the whole file, once the server has said it.
        complete: whether all of it is there.
        heard: whether the server has ever sent anything.
    """

    def __init__(self, url: str, path: Path, size: int | None, sha256: str, report: Report) -> None:
        self.url = url
        self.path = path
        self.size = size
        self.sha256 = sha256
        self.report = report
        self.part = part_of(path)
        self.note = self.part.with_name(self.part.name + ".json")
        self.total: int | None = None
        self.complete = False
        self.heard = False

    def run(self, wait: float) -> None:
        """Ask until all of it is there, then check it and put it in its place."""
        idle = 0
        while not self.complete:
            before = self.have()
            try:
                self.attempt()
            except (OSError, http.client.HTTPException) as error:
                idle = 0 if self.have() > before else idle + 1
                if idle >= (_PATIENCE if self.heard else _PATIENCE_FIRST) or _final(error):
                    raise self.failed(_reason(error)) from None
                time.sleep(min(wait * 2**idle, _LONGEST_WAIT))
        self.finish()

    def have(self) -> int:
        """Return how many bytes are there."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def failed(self, reason: str) -> WeightsError:
        """Return the error to raise where it can't go on."""
        kept = self.have()
        rest = f"; {kept / 1e6:.1f} MB of it are kept, the next attempt goes on there"
        return WeightsError(f"{self.url}: {reason}{rest if kept else ''}")

    def attempt(self) -> None:
        """Ask for what is missing and write down what comes."""
        request = urllib.request.Request(self.url, headers=self.headers())
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                self.heard = True
                self.copy(answer, self.begin(answer))
        except urllib.error.HTTPError as error:
            with error:
                if error.code != _RANGE_REFUSED:
                    raise
                self.refused(error)
            return
        if self.total is not None and self.have() < self.total:
            raise ConnectionError("the connection was cut")
        self.complete = True

    def headers(self) -> dict[str, str]:
        """Return what to ask with: a rest only where it's sure to be one of the same file."""
        headers = {"User-Agent": f"3dinv/{__version__}", "Accept-Encoding": "identity"}
        version = self.version()
        if self.have() and not (version or self.sha256):
            self.part.unlink()
        if have := self.have():
            headers["Range"] = f"bytes={have}-"
            if version:
                headers["If-Range"] = version
        return headers

    def version(self) -> str:
        """Return what the server called the file that the part is of."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["version"]) if note["url"] == self.url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, answer: Any) -> int:
        """Read the head of an answer and return the position where its bytes belong."""
        if self.url.startswith("https:") and not answer.url.startswith("https:"):
            raise self.failed(f"leads to {answer.url}, which isn't encrypted")
        if answer.headers.get_content_type() == "text/html":
            raise self.failed("a web page came instead of the file")
        length = answer.headers["Content-Length"]
        start, self.total = 0, int(length) if length else self.size
        if answer.status == _PARTIAL:
            start, whole = _content_range(answer.headers["Content-Range"])
            self.total = self.size if whole is None else whole
            if start != self.have():
                self.part.unlink(missing_ok=True)
                raise ConnectionError("another part came than was asked for")
        if None not in (self.size, self.total) and self.size != self.total:
            raise self.failed(f"has {self.total} bytes, expected {self.size}: another file")
        self.check_room(start)
        if not start:
            self.part.unlink(missing_ok=True)
            self.remember(answer)
        return start

    def remember(self, answer: Any) -> None:
        """Note the version of the server's file, to ask for the rest of the same one."""
        tag = answer.headers["ETag"] or ""
        # a weak tag doesn't promise the same bytes
        version = answer.headers["Last-Modified"] or "" if tag.startswith("W/") or not tag else tag
        note = json.dumps({"url": self.url, "version": version})
        self.write(partial(self.note.write_text, note, encoding="utf-8"))

    def check_room(self, start: int) -> None:
        """Refuse at once what won't fit on the disk."""
        free = shutil.disk_usage(self.part.parent).free
        needed = (self.total or 0) - start
        if needed > free:
            full = OSError(errno.ENOSPC, f"{needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free")
            raise not_written(self.path, full)

    def copy(self, answer: Any, start: int) -> None:
        """Write what comes to its position."""
        # unbuffered, so that nothing that came is lost in a kill
        mode = "r+b" if start else "wb"
        with self.write(partial(self.part.open, mode, buffering=0)) as file:
            file.seek(start)
            done = start
            self.report(done, self.total)
            while block := answer.read(_BLOCK):
                self.write(partial(file.write, block))
                done += len(block)
                self.report(done, self.total)

    def write(self, action: Callable[[], Any]) -> Any:
        """Do something to a file; a full disk isn't a cut connection."""
        try:
            return action()
        except OSError as error:
            raise not_written(self.path, error) from error

    def refused(self, error: urllib.error.HTTPError) -> None:
        """The server has no more bytes than we have: either that's all, or the part is wrong."""
        total = (error.headers["Content-Range"] or "").rpartition("/")[2]
        if total.isdecimal() and int(total) == self.have():
            self.complete = True
            return
        self.part.unlink(missing_ok=True)

    def finish(self) -> None:
        """Put what came in its place if it is what was expected."""
        found = file_digest(self.part) if self.sha256 else ""
        size = self.have()
        if found != self.sha256 or self.size not in (None, size):
            self.part.unlink()
            self.note.unlink(missing_ok=True)
            what = f"SHA-256 {found}, expected {self.sha256}" if found else f"{size} bytes"
            raise WeightsError(
                f"{self.url}: what came is damaged or another file ({what}); it was deleted, try "
                "again"
            )
        self.write(partial(os.replace, self.part, self.path))
        with contextlib.suppress(OSError):
            self.note.unlink()


def _content_range(text: str | None) -> tuple[int, int | None]:
    """Return first byte and size of the whole, of "bytes 100-199/200"."""
    span, _, total = (text or "").removeprefix("bytes").strip().partition("/")
    first = span.partition("-")[0]
    if not first.isdecimal():
        raise ConnectionError(f"a part without its place came ({text})")
    return int(first), int(total) if total.isdecimal() else None


def _final(error: BaseException) -> bool:
    """Whether asking again can't help."""
    return isinstance(error, urllib.error.HTTPError) and error.code not in _PASSING


def _reason(error: BaseException) -> str:
    """Return what went wrong in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code} ({error.reason})"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return str(text).splitlines()[0]
