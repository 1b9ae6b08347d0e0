"""What is slow to build and the same for many runs: kept, where a program asks for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Store = dict[Hashable, Any]

# what threads ask for at the same time is built once; building one thing may ask for another
_building = threading.RLock()
_store: ContextVar[Store | None] = ContextVar("inv3d_warm", default=None)


@contextlib.contextmanager
def keeping(store: Store) -> Iterator[None]:
    """Let `kept` find again within the block what it put into a store.

    Generators are handed out as copies, so that a run that tunes its own leaves no trace; losses
    and encoders are frozen, and handed out as they are.

    Args:
        store: empty at first; whoever holds it says how long things are kept.
    """
    token = _store.set(store)
    try:
        yield
    finally:
        _store.reset(token)


def is_keeping() -> bool:
    """Whether a block of `keeping` is around."""
    return _store.get() is not None


def kept(key: Hashable, make: Callable[[], T]) -> T:
    """Return what was made under a key before, or make it; always make it outside of `keeping`.

    Args:
        key: everything that the result depends on.
        make: builds it.
    """
    store = _store.get()
    if store is None:
        return make()
    with _building:
        if key not in store:
            store[key] = make()
    made: T = store[key]
    return made


def version_of(path: Path | None) -> tuple[str, int, int] | None:
    """Return what tells a file or folder from what stands there after a change; None for none."""
    if path is None or not path.exists():
        return None
    facts = path.stat()
    return str(path.absolute()), facts.st_size, facts.st_mtime_ns
