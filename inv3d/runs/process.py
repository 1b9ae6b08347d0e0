"""What the process of a run sets for itself: memory, and exact arithmetic."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from inv3d.nn.vector_math import wake

# numbers of glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER, _STEP = 2**31 - 1, 1 << 28


def settle_process() -> None:
    """Prepare the process of a command that takes a run; programs that use 3dinv decide themselves.

    Convolutions of losses are exact on CUDA, where torch lets them round their factors unless told
    otherwise; those of a generator follow its own precision anyway.
    """
    torch.backends.cudnn.allow_tf32 = False
    wake()
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor instead of handing it back to the system.

    A step of an inversion frees and takes the same large blocks again and again. Handed back, they
    must be cleared by the system each time, which took a seventh of a run on two cores. What was
    freed is only returned at the end. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_TOP_PAD, _STEP)
