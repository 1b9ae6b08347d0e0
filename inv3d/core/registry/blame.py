"""Whose an error is: the plugin of another distribution in whose code it was raised."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
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
    records = [r for r in registry().records if r.target and r.target.partition(".")[0] != _OURS]
    frames = list(_frames(error))
    for depth, frame in enumerate(frames):
        if found := _at_work(records, frame):
            return found
        near = [record for record in records if _is_near(record, frame)]
        if near:  # a helper of the package: which of its plugins called it?
            callers = (_at_work(near, caller) for caller in frames[depth:])
            return next(filter(None, callers), near[0])
    return None


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of a traceback, innermost first, then those of what caused the error."""
    yield from reversed([frame for frame, _ in traceback.walk_tb(error.__traceback__)])
    if error.__cause__ is not None:
        yield from _frames(error.__cause__)


def _at_work(records: Sequence[PluginRecord], frame: FrameType) -> PluginRecord | None:
    """Return the plugin whose method a frame runs, or in whose module of hooks it stands."""
    subjects = [frame.f_locals.get(argument) for argument in ("self", "cls")]
    kinds = [item if isinstance(item, type) else type(item) for item in subjects]
    # an object is one of its own class first, then of those that this one inherits from
    ancestors = [base for kind in kinds for base in kind.__mro__]
    plugins = {_loaded(record): record for record in reversed(records)}
    found = (plugins[base] for base in ancestors if base in plugins)
    hooks = (r for r in records if r.kind == "hooks" and r.target == _module(frame))
    return next(found, None) or next(hooks, None)


def _loaded(record: PluginRecord) -> Any:
    """Return the class of a plugin, or its name where it wasn't imported."""
    module, _, name = record.target.partition(":")
    kind = _attribute(sys.modules.get(module), name) if name else None
    return kind if isinstance(kind, type) else record.target


def _attribute(value: Any, name: str) -> Any:
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _is_near(record: PluginRecord, frame: FrameType) -> bool:
    """Whether a frame runs code of the package that a plugin's module stands in."""
    module = record.target.partition(":")[0]
    package = module.rpartition(".")[0] or module
    return f"{_module(frame)}.".startswith(f"{package}.")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
