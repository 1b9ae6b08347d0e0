"""Why an item failed, and whether it's worth another try."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Literal

import torch

from inv3d.core.errors import RunError
from inv3d.core.lock import Busy

# what may be otherwise a little later
Passing = Literal["", "memory", "disk", "worker", "busy"]
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE}
_OUT_OF_MEMORY = ("out of device memory", "can't allocate memory", "out of memory")


def passing(error: BaseException) -> Passing:
    """Return what was in the way where that may pass; empty for what will be the same again.

    Args:
        error: that ended a run, with what caused it.
    """
    for one in _chain(error):
        if isinstance(one, torch.OutOfMemoryError | MemoryError) or _says_out_of_memory(one):
            return "memory"
        if isinstance(one, OSError) and one.errno in _DISK:
            return "disk"
        if isinstance(one, Busy):
            return "busy"
    return ""


def _says_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError | RunError) and any(s in text for s in _OUT_OF_MEMORY)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
