"""Importing a plugin and seeing that it's what its kind demands."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from dataclasses import replace
from typing import Any

from inv3d.core.errors import first_line
from inv3d.core.registry.hookspecs import misspelt_hook
from inv3d.core.registry.record import KINDS, PluginRecord


def import_plugin(record: PluginRecord) -> tuple[PluginRecord, Any]:
    """Import a plugin and check it. What it prints meanwhile goes to stderr.

    Returns:
        The record, with status "broken" and a reason where it can't be used, and what was
        imported (None where nothing was).
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            target = _imported(record.target)
            reason = _fault(record, target)
    except (Exception, SystemExit) as error:
        reason = f"import of {record.target}: {type(error).__name__}: {first_line(error)}"
        return replace(record, status="broken", reason=reason), None
    if reason:
        return replace(record, status="broken", reason=reason), target
    return replace(record, summary=getattr(target, "summary", "") or _summary(target)), target


def _imported(target: str) -> Any:
    """Import what "module:Class" names; the module itself where there's no class."""
    module, _, attribute = target.partition(":")
    value: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        value = getattr(value, part)
    return value


def _summary(target: Any) -> str:
    return (inspect.getdoc(target) or "").partition("\n")[0]


def _fault(record: PluginRecord, target: Any) -> str:
    if record.kind == "hooks":
        return misspelt_hook(target)
    contract = _imported(KINDS[record.kind])
    if not _is_subclass(target, contract):
        return f"{record.target} is no subclass of inv3d.{contract.__name__}"
    if inspect.isabstract(target):
        missing = ", ".join(sorted(target.__abstractmethods__))
        return f"{record.target} is abstract: it lacks {missing}"
    if target.name != record.name:
        return f"{record.target} calls itself '{target.name}', its entry point '{record.name}'"
    from inv3d.core.config import PluginConfig

    if not _is_subclass(target.Config, PluginConfig):
        return f"{record.target}.Config is no subclass of inv3d.PluginConfig"
    if not _are_weight_files(target.weights):
        return f"{record.target}.weights is no tuple of inv3d.WeightFile"
    return _api_fault(target, record.target)


def _is_subclass(value: Any, contract: type) -> bool:
    return inspect.isclass(value) and issubclass(value, contract)


def _declares_api(target: Any) -> bool:
    """Whether a class names its API version; ours are of this one."""
    package = __name__.partition(".")[0]
    foreign = [base for base in target.__mro__ if base.__module__.partition(".")[0] != package]
    return target not in foreign or any("api" in vars(base) for base in foreign)


def _are_weight_files(value: Any) -> bool:
    from inv3d.core.weights.known import WeightFile

    return isinstance(value, tuple) and all(isinstance(file, WeightFile) for file in value)


def _api_fault(plugin: Any, name: str) -> str:
    """Say what is wrong with the API version that a plugin was written for."""
    from inv3d.core.plugin import API_VERSION

    if not _declares_api(plugin):
        return (
            f"{name} doesn't say which plugin API it was written for; add the line "
            f'api = "{API_VERSION}" to the class'
        )
    wanted = plugin.api
    try:
        major, minor = (int(part) for part in wanted.split("."))
    except (AttributeError, ValueError):
        return f"api is {wanted!r}, expected 'major.minor' such as '{API_VERSION}'"
    have_major, have_minor = (int(part) for part in API_VERSION.split("."))
    if major != have_major or minor > have_minor:
        return (
            f"written for plugin API {wanted}, this 3dinv has {API_VERSION}; "
            f"{'upgrade 3dinv' if (major, minor) > (have_major, have_minor) else 'upgrade it'}"
        )
    return ""
