"""One process a run directory: two that write the same checkpoint would spoil it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from inv3d.core.errors import RunError
from inv3d.core.files import not_written

LOCK = ".lock"


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Be the only process that writes a run directory, for a while.

    The system lets go of the lock when a process ends, however it ends.

    Raises:
        RunError: where another process holds it, or the directory can't be written.
    """
    path = directory / LOCK
    # not thread-local: a run in a thread of a larger program counts as well
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{directory}: {_holder(path)} is writing this run; wait for it, or stop it first"
        ) from None
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
