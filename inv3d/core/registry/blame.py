"""Whose an error is: the plugin of another distribution in whose code it was raised."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from inv3d.core.errors import first_line
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import PluginRecord, singular

_OURS = __name__.partition(".")[0]


def blamed(error: BaseException) -> str:
    """Return what went wrong, in one line, and in whose plugin.

    Args:
        error: one that nobody expected, with its traceback.

    Returns:
        Its type and text, and before them the plugin of another distribution that was at work, if
        there was one, such as "loss 'edges' of inv3d-edges failed".
    """
    said = f"{type(error).__name__}: {first_line(error)}"
    record = culprit(error)
    return said if record is None else f"{described(record)} failed ({said})"


def described(record: PluginRecord) -> str:
    """Return a plugin with its distribution, for messages."""
    return f"{singular(record.kind)} '{record.name}' of {record.distribution}"


def culprit(error: BaseException) -> PluginRecord | None:
    """Return the plugin of another distribution that was at work, the innermost of several."""
    records = [r for r in registry().records if r.target and _package(r) != _OURS]
    frames = list(_frames(error))
    for depth, frame in enumerate(frames):
        near = [record for record in records if _package(record) == _module(frame, 1)]
        exact = [record for record in records if _is_at_work(record, frame)]
        if exact or near:
            # a helper of the package: which of its plugins called it?
            callers = (r for f in frames[depth:] for r in near if _is_at_work(r, f))
            return next(iter(exact), None) or next(callers, near[0] if near else None)
    return None


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of a traceback, innermost first, then those of what caused the error."""
    yield from reversed([frame for frame, _ in traceback.walk_tb(error.__traceback__)])
    if error.__cause__ is not None:
        yield from _frames(error.__cause__)


def _is_at_work(record: PluginRecord, frame: FrameType) -> bool:
    """Whether a frame runs a method of a plugin's class, or stands in the module of hooks."""
    module, _, name = record.target.partition(":")
    if not name:
        return _module(frame) == module
    plugin = _attribute(sys.modules.get(module), name)
    subjects = (frame.f_locals.get(argument) for argument in ("self", "cls"))
    return isinstance(plugin, type) and any(_has_type(item, plugin) for item in subjects)


def _has_type(subject: Any, plugin: type) -> bool:
    kind = subject if isinstance(subject, type) else type(subject)
    return issubclass(kind, plugin)


def _attribute(value: Any, name: str) -> Any:
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _package(record: PluginRecord) -> str:
    return record.target.partition(":")[0].partition(".")[0]


def _module(frame: FrameType, parts: int = 0) -> str:
    """Return the name of a frame's module, or its first parts."""
    name = str(frame.f_globals.get("__name__", ""))
    return ".".join(name.split(".")[:parts]) if parts else name
