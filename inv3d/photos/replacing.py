"""Making way for a capture where one is already."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inv3d.core.errors import RunError
from inv3d.io.naming import PREPARED


@contextmanager
def made_way(out: Path, *, overwrite: bool) -> Iterator[None]:
    """Put a capture that is there aside, and back where the new one fails.

    Args:
        out: folder of the capture.
        overwrite: whether one that is there may be replaced.

    Raises:
        RunError: where there is something else, or it may not be replaced.
    """
    if not out.exists():
        yield
        return
    if not overwrite:
        raise RunError(f"{out}: exists already; choose another place, or give --overwrite")
    if not (out / PREPARED).is_file():
        raise RunError(
            f"{out}: no capture of 'prepare' ({PREPARED} is missing), and not replaced; choose "
            "another place"
        )
    aside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    out.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
