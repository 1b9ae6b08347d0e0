"""Hooks: what a plugin can add besides the four kinds (pluggy)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pluggy

from inv3d.core.discovery import registry
from inv3d.core.errors import PluginError

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from inv3d.core.inversion import Inversion
    from inv3d.core.optimize import Progress

PROJECT = "inv3d"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """All hooks. A module named in the entry-point group `inv3d.hooks` implements any of them."""

    @hookspec
    def inv3d_commands(self, group: click.Group) -> None:
        """Add commands to the `3dinv` group."""

    @hookspec
    def inv3d_run_start(self, directory: Path, config: dict[str, Any]) -> None:
        """A run begins.

        Args:
            directory: the run directory.
            config: resolved options, as in run.json.
        """

    @hookspec
    def inv3d_run_step(self, directory: Path, progress: Progress) -> None:
        """A step was taken."""

    @hookspec
    def inv3d_run_end(self, directory: Path, inversion: Inversion, metrics: dict[str, Any]) -> None:
        """A run ended well; metrics are those of metrics.json."""

    @hookspec
    def inv3d_exporters(self) -> dict[str, Any]:  # type: ignore[empty-body]
        """Return format name -> function(inversion, generator, path, **options)."""


def manager() -> pluggy.PluginManager:
    """Return a manager that knows the specifications and no plugin."""
    empty = pluggy.PluginManager(PROJECT)
    empty.add_hookspecs(HookSpecs)
    return empty


def hooks_fault(module: Any) -> str:
    """Say which hook of a module is misspelt or takes other arguments; empty if none."""
    trial = manager()
    try:
        trial.register(module)
        trial.check_pending()
    except pluggy.PluginValidationError as error:
        return str(error).splitlines()[-1].strip()
    return ""


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
                    f"hooks '{name}' failed in {hook} ({type(error).__name__}: {error}); "
                    "they're left out from here on"
                )
        return results
