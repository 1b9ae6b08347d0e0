"""The whole hook surface: what a plugin can add besides the kinds of plugins (pluggy)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pluggy

from inv3d.core.errors import suggest

if TYPE_CHECKING:
    from pathlib import Path

    import click

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
    def inv3d_run_step(self, directory: Path, progress: Any) -> None:
        """A step was taken; `progress` is an `inv3d.Progress`."""

    @hookspec
    def inv3d_run_end(self, directory: Path, inversion: Any, metrics: dict[str, Any]) -> None:
        """A run ended well, with an `inv3d.Inversion` and the contents of metrics.json."""

    @hookspec
    def inv3d_exporters(self) -> dict[str, Any]:  # type: ignore[empty-body]
        """Return format name -> function(inversion, generator, path, **options)."""

    @hookspec
    def inv3d_classifiers(self) -> dict[str, Any]:  # type: ignore[empty-body]
        """Return classifier name -> function(images [N, 3, H, W] in [-1, 1]).

        The function returns attribute name -> scores [N]; more of it is a larger number. Editors
        find directions by them.
        """


def manager() -> pluggy.PluginManager:
    """Return a manager that knows the specifications and no plugin."""
    empty = pluggy.PluginManager(PROJECT)
    empty.add_hookspecs(HookSpecs)
    return empty


def misspelt_hook(module: Any) -> str:
    """Say which hook of a module is misspelt or takes other arguments; empty if none."""
    trial, specs = manager(), vars(HookSpecs)
    known = [spec for spec in specs if spec.startswith(f"{PROJECT}_")]
    for attribute in dir(module):
        options = trial.parse_hookimpl_opts(module, attribute)
        if options is None:
            continue
        name = options.get("specname") or attribute
        if name not in known:
            return f"there is no hook {name}{suggest(name, known)}"
        arguments = list(inspect.signature(specs[name]).parameters)[1:]
        for argument in inspect.signature(getattr(module, attribute)).parameters:
            if argument not in arguments:
                return f"hook {name} has no argument '{argument}'{suggest(argument, arguments)}"
    return ""
