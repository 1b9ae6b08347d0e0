"""Keeping damaged metadata of other packages from stopping libraries that look through them all."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tolerant_metadata() -> Iterator[None]:
    """Let a distribution whose entry points can't be read have none, for a while.

    torch, pydantic, matplotlib and others look for plugins of their own among the entry points of
    all distributions when they're imported, and one that's damaged is an error to each of them.
    """
    strict = importlib.metadata.Distribution.entry_points

    def entry_points(
        distribution: importlib.metadata.Distribution,
    ) -> importlib.metadata.EntryPoints:
        try:
            return strict.fget(distribution)  # type: ignore[attr-defined, no-any-return]
        except Exception:  # whatever a reader of others raises
            return importlib.metadata.EntryPoints()

    importlib.metadata.Distribution.entry_points = property(entry_points)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        importlib.metadata.Distribution.entry_points = strict  # type: ignore[method-assign]
