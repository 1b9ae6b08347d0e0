"""Lock files: one process at a time, and the lock ends with the process that holds it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from inv3d.core.files import not_written


class Busy(Exception):
    """Another process holds the lock; the text names it."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file for a while.

    Args:
        path: of the lock file, which is there only while the lock is held.
        wait: for another process to let go of it.

    Raises:
        Busy: where another process holds it and `wait` is false.
        RunError: where the file can't be written.
    """
    # not thread-local: what a thread of a larger program does counts as well
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise Busy(_holder(path)) from None
    except OSError as error:
        raise not_written(path, error) from error
    try:
        with contextlib.suppress(OSError):
            path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        # before letting go of it: whoever opened it meanwhile finds that it's gone and tries again
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()


def _holder(path: Path) -> str:
    """Name the process that wrote its number into the lock file."""
    try:
        number = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        number = ""
    return f"process {number}" if number.isdecimal() else "another process"
