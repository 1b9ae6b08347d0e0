"""Calling the hooks of all plugins (pluggy)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pluggy

from inv3d.core.errors import PluginError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hookspecs import manager


@lru_cache(maxsize=1)
def hooks() -> pluggy.PluginManager:
    """Return the manager with all hook modules.

    One that is broken is left out with a warning, or is an error where INV3D_STRICT=1.
    """
    found = manager()
    for record in registry().of_kind("hooks"):
        if record.status == "disabled":
            continue
        try:
            found.register(registry().load("hooks", record.name), record.name)
        except (PluginError, ValueError) as error:
            if os.environ.get("INV3D_STRICT") == "1":
                raise PluginError(str(error)) from error
            warnings.warn(str(error), stacklevel=2)
    return found


def _owner(name: str) -> str:
    """Say whose a module of hooks is, where that's known."""
    owners = (r.distribution for r in registry().of_kind("hooks") if r.name == name)
    return next((f" of {owner}" for owner in owners), "")


class Observers:
    """Calls hooks one plugin at a time; a plugin that raises is reported and then left alone."""

    def __init__(self, manager: pluggy.PluginManager, report: Callable[[str], None]) -> None:
        self.manager = manager
        self.report = report
        self.silenced: set[str] = set()

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """Call a hook of every plugin and return what they gave."""
        plugins = dict(self.manager.list_name_plugin())
        results: list[Any] = []
        for name in [name for name in plugins if name not in self.silenced]:
            others = [plugin for other, plugin in plugins.items() if other != name]
            try:
                caller = self.manager.subset_hook_caller(hook, others)
                results += caller(**arguments)
            except Exception as error:
                self.silenced.add(name)
                self.report(
                    f"hooks '{name}'{_owner(name)} failed in {hook} "
                    f"({type(error).__name__}: {error}); they're left out from here on"
                )
        return results
