"""Calling the hooks of all plugins (pluggy)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import pluggy

from inv3d.core.errors import ContractError, InvError, PluginError, UsageError, first_line, suggest
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


def joined(known: pluggy.PluginManager, more: Mapping[str, Any]) -> pluggy.PluginManager:
    """Return a manager of its own, with the plugins of another one and further objects."""
    found = manager()
    for name, plugin in (*known.list_name_plugin(), *more.items()):
        found.register(plugin, name)
    return found


def open_loggers(asked: Iterable[str]) -> dict[str, Any]:
    """Make the loggers that a user asks for.

    Args:
        asked: texts such as "tensorboard" or "wandb?project=heads".

    Returns:
        Name -> object with hooks of a run as methods.

    Raises:
        UsageError: where no plugin offers one of that name, or it doesn't take the options.
        InvError: where it can't be made, such as for want of a package.
    """
    made: dict[str, Any] = {}
    offered = _offered("inv3d_loggers") if asked else {}
    for text in asked:
        name = text.partition("?")[0]
        made[f"logger {name}"] = logger = _opened("--logger", text, offered)
        if not any(_is_hook(logger, hook) for hook in dir(logger)):
            raise ContractError(
                f"--logger {text}: {name} made a {type(logger).__name__}, expected an object with "
                "hooks of a run, marked by inv3d.hookimpl; report it to the plugin's author"
            )
    return made


def _is_hook(plugin: Any, name: str) -> bool:
    """Whether an attribute of an object is marked as a hook."""
    return manager().parse_hookimpl_opts(plugin, name) is not None


# how Python says that a function has no such argument
_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")


def open_executor(asked: str, wanted: Any) -> Any:
    """Make the executor that a user asks for.

    Args:
        asked: a text such as "local" or "ray?address=auto".
        wanted: an `inv3d.Wanted`.

    Returns:
        An `inv3d.Executor`.

    Raises:
        UsageError: where no plugin offers one of that name, or it doesn't take the options.
        InvError: where it can't be made, such as for want of a package.
    """
    return _opened("--executor", asked, _offered("inv3d_executors"), wanted)


def check_executor(asked: str) -> None:
    """Refuse an executor that no plugin offers, before there's work for one.

    Raises:
        UsageError: naming the nearest one.
    """
    _known("--executor", asked.partition("?")[0], _offered("inv3d_executors"))


def _known(option: str, name: str, offered: Mapping[str, Callable[..., Any]]) -> None:
    if name not in offered:
        raise UsageError(f"{option} {name}: no plugin offers it{suggest(name, offered)}")


def _offered(hook: str) -> dict[str, Callable[..., Any]]:
    """Return what all plugins offer by a hook, by name."""
    offered: dict[str, Callable[..., Any]] = {}
    for found in Observers(hooks(), warnings.warn).call(hook):
        offered |= found if isinstance(found, dict) else {}
    return offered


def _opened(
    option: str, asked: str, offered: Mapping[str, Callable[..., Any]], *arguments: Any
) -> Any:
    """Call what is offered under a name, with the options that the user gives it."""
    name, _, query = asked.partition("?")
    _known(option, name, offered)
    pairs = [part.partition("=") for part in query.split("&") if part]
    try:
        return offered[name](*arguments, **{key: _value(text) for key, _, text in pairs})
    except InvError:
        raise
    except Exception as error:  # whatever a plugin raises
        unknown = _UNKNOWN.search(str(error)) if isinstance(error, TypeError) else None
        if unknown and unknown[1] in {key for key, _, _ in pairs}:
            raise UsageError(
                f"{option} {asked}: {name} has no option '{unknown[1]}'; leave it out"
            ) from error
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"{option} {asked}: can't be made ({said})") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def hook_metrics(report: Callable[[str], None]) -> dict[str, str]:
    """Return the metrics that plugins add: role -> loss with options.

    One that names no loss that there is, is reported and left out.

    Args:
        report: is told of what is left out.
    """
    metrics: dict[str, str] = {}
    for found in Observers(hooks(), report).call("inv3d_metrics"):
        for role, text in found.items() if isinstance(found, Mapping) else ():
            try:
                registry().record("losses", str(text).partition("?")[0])
            except PluginError as error:
                report(f"metric '{role}' of a plugin is left out ({error})")
            else:
                metrics[str(role)] = str(text)
    return metrics


def _owner(name: str) -> str:
    """Say whose a module of hooks is, where that's known."""
    owners = (r.distribution for r in registry().of_kind("hooks") if r.name == name)
    return next((f" of {owner}" for owner in owners), "")


class Observers:
    """Calls hooks one plugin at a time; a plugin that raises is reported and then left alone."""

    def __init__(
        self,
        manager: pluggy.PluginManager,
        report: Callable[[str], None],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Watch with all plugins of a manager.

        Args:
            manager: of the hook modules.
            report: is told of a plugin that raises.
            more: name -> object with hooks as methods, for this watch alone.
        """
        self.manager = joined(manager, more) if more else manager
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
                # stdout is for results
                with contextlib.redirect_stdout(sys.stderr):
                    results += caller(**arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever a plugin raises
                self.silenced.add(name)
                self.report(
                    f"hooks '{name}'{_owner(name)} failed in {hook} "
                    f"({type(error).__name__}: {first_line(error)}); they're left out from here on"
                )
        return results
