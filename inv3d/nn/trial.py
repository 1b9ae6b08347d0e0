"""Programs that are compiled on a user's GPU: where they may run, and a trial before they're used.

A GPU, its driver and Triton are what they are on a user's machine. Programs that don't compile
there, or that find something else than plain torch, must cost nothing but time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from inv3d.core.errors import Note

# Seconds after which a user is told why nothing seems to happen.
_PATIENCE = 2.0
# The oldest GPUs that are asked (Ampere, 2020); tensor cores have TF32 since.
_CAPABILITY = (8, 0)

_allowed: ContextVar[bool] = ContextVar("programs", default=True)
_known: dict[Hashable, bool] = {}


@contextmanager
def programs(allowed: bool) -> Iterator[None]:
    """Allow what runs here to use programs, or don't."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def may_run(tensor: Tensor) -> bool:
    """Whether programs are allowed, and a tensor's device is an NVIDIA GPU that Triton serves."""
    return tensor.is_cuda and _allowed.get() and _serves(tensor.device)


@cache
def _serves(device: torch.device) -> bool:
    if torch.version.cuda is None or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= _CAPABILITY


def passed(key: Hashable, what: str, fault: Callable[[], str | None]) -> bool:
    """Whether programs do what they should, found by a trial the first time that it's asked.

    Args:
        key: of programs that compile or fail together.
        what: they do, after which "falls to plain torch" can be said; for the warning.
        fault: tries them, and says in a line what is wrong, None if nothing is.
    """
    if key not in _known:
        with _told_if_slow(what):
            found = _said(fault)
        _known[key] = found is None
        if found is not None:
            warnings.warn(
                f"{what} falls to plain torch, which is slower: {found}",
                RuntimeWarning,
                stacklevel=2,
            )
    return _known[key]


@contextmanager
def _told_if_slow(what: str) -> Iterator[None]:
    """Say what is going on where it takes long: compiling, which is kept for later runs."""
    text = (
        f"warming up: {what} by programs that are compiled for this GPU; a first run takes up to "
        "a minute longer"
    )

    def tell() -> None:
        with suppress(Note):  # where warnings are errors, this thread isn't the place
            warnings.warn(text, Note, stacklevel=2)

    timer = threading.Timer(_PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _said(fault: Callable[[], str | None]) -> str | None:
    try:
        with torch.inference_mode(False), torch.enable_grad():
            return fault()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver raises
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[-1]}"


def error_of(found: Tensor, expected: Tensor) -> float:
    """Return the largest error in units of the largest expected number."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).abs().max() / expected.abs().max())
