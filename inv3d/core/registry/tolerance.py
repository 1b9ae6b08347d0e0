"""Keeping damaged packages of others from stopping libraries that look through them all."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inv3d.core.errors import first_line
from inv3d.core.registry.metadata import name_of

# what torch loads and calls when it's imported
_BACKENDS = "torch.backends"


class BrokenBackend(UserWarning):
    """An extension of PyTorch that can't be loaded.

    Attributes:
        found: what is wrong with it.
        fix: what to do about it.
    """

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(f"{found}; {fix}")
        self.found = found
        self.fix = fix


@contextmanager
def tolerant_metadata() -> Iterator[None]:
    """Let a distribution whose entry points can't be read have none, for a while.

    torch, pydantic, matplotlib and others look for plugins of their own among the entry points of
    all distributions when they're imported, and one that's damaged is an error to each of them.
    An extension of torch that fails when it's loaded or called is a `BrokenBackend`, a warning.
    """
    strict = importlib.metadata.Distribution.entry_points

    def entry_points(
        distribution: importlib.metadata.Distribution,
    ) -> importlib.metadata.EntryPoints:
        try:
            points = strict.fget(distribution)  # type: ignore[attr-defined]
        except Exception:  # whatever a reader of others raises
            return importlib.metadata.EntryPoints()
        return importlib.metadata.EntryPoints(
            _Backend(point, name_of(distribution)) if point.group == _BACKENDS else point
            for point in points
        )

    importlib.metadata.Distribution.entry_points = property(entry_points)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        importlib.metadata.Distribution.entry_points = strict  # type: ignore[method-assign]


class _Backend(importlib.metadata.EntryPoint):
    """An entry point of torch's extensions whose failure is its own."""

    def __init__(self, point: importlib.metadata.EntryPoint, owner: str) -> None:
        super().__init__(point.name, point.value, point.group)
        vars(self)["owner"] = owner  # entry points can't be changed

    def load(self) -> Callable[[], None]:
        """Return what loads and calls it."""
        return self._call

    def _call(self) -> None:
        try:
            super().load()()
        except (Exception, SystemExit) as error:  # whatever code of others raises
            owner, reason = vars(self)["owner"], f"{type(error).__name__}: {first_line(error)}"
            found = f"the PyTorch extension '{self.name}' of {owner} can't be loaded ({reason})"
            warnings.warn(BrokenBackend(found, f"update or uninstall {owner}"), stacklevel=2)
