"""One process a run directory: two that write the same checkpoint would spoil it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from inv3d.core.errors import RunError
from inv3d.core.lock import Busy, locked
from inv3d.rundir.files import LOCK


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Be the only process that writes a run directory, for a while.

    Raises:
        RunError: where another process does, or the directory can't be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(directory / LOCK, wait=False))
        except Busy as holder:
            raise RunError(
                f"{directory}: {holder} is writing this run; wait for it, or stop it first"
            ) from None
        yield
