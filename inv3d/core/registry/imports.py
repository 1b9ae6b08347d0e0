"""Importing a plugin and seeing that it's what its kind demands."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from inv3d.core.errors import PluginError, first_line
from inv3d.core.registry.api_range import api_fault
from inv3d.core.registry.guard import guarded
from inv3d.core.registry.hookspecs import misspelt_hook
from inv3d.core.registry.record import GROUPS, KINDS, LOSS_TERM, PluginRecord, singular

# names of a class's tables of options
_TABLES = ("Config", "Edit", "Training")


def import_plugin(record: PluginRecord) -> tuple[PluginRecord, Any]:
    """Import a plugin and check it. What it prints meanwhile goes to stderr.

    Returns:
        The record, with what the plugin says of itself, or with status "broken" and a reason where
        it can't be used; and what was imported (None where nothing was).

    Raises:
        KeyboardInterrupt: where the user stops it.
    """
    tried, target, reason = record, None, ""
    with guarded() as guard:
        started = time.perf_counter()
        try:
            target = _imported(record.target)
            tried = replace(record, seconds=round(time.perf_counter() - started, 3))
            reason = fault(record, target)
            tried = replace(tried, file=_file(record), **_said(record.kind, target, reason))
        except BaseException as error:  # a plugin may raise anything
            if guard.stopped:
                raise
            target, reason = None, _failure(record, error)
    tried = replace(tried, prints=guard.prints, changes=guard.changes)
    return (replace(tried, status="broken", reason=reason) if reason else tried), target


def _failure(record: PluginRecord, error: BaseException) -> str:
    """Say what an import raised, and what to do where that's known."""
    text = first_line(error)
    said = f"import of {record.target}: {type(error).__name__}" + (f": {text}" if text else "")
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return said
    missing = error.name.partition(".")[0]
    if missing == record.target.partition(":")[0].partition(".")[0]:
        return f"{said}; its package lacks that module: see what its pyproject.toml includes"
    return said if missing in sys.modules else f"{said}; install it"


def _said(kind: str, target: Any, reason: str) -> dict[str, Any]:
    """Return what a plugin says of itself; nothing where that can't be trusted."""
    if reason:
        return {}
    texts = {n: str(getattr(target, n, "")) for n in ("licence", "reference")}
    summary = getattr(target, "summary", "") or _summary(target)
    return {"summary": summary, **texts, "capabilities": tuple(_capabilities(kind, target))}


def _capabilities(kind: str, target: Any) -> Iterator[str]:
    """Say in words what a plugin can do, and what it needs for that."""
    if kind == "hooks":
        yield from (name for name in dir(target) if name.startswith("inv3d_"))
    needs = getattr(target, "needs", ()) if kind in ("methods", "losses") else ()
    yield from (f"needs {name}" for name in sorted(needs) if name not in ("cameras", "image"))
    if kind == "methods":
        yield from ["without cameras"] if "cameras" not in needs else []
        yield from [f"{target.min_views} views or more"] if target.min_views > 1 else []
        yield from ["takes --init"] if target.takes_init else []
        yield from ["is trained"] if hasattr(target, "Training") else []
    if kind == "editors" and target.needs_directions:
        yield "needs directions"
    yield from (f"preset {name}" for name in getattr(target, "presets", ()) if name != "default")


def _file(record: PluginRecord) -> str:
    module = sys.modules.get(record.target.partition(":")[0])
    return str(getattr(module, "__file__", None) or "")


def import_contracts() -> None:
    """Import what every plugin stands on, PyTorch among it."""
    for contract in KINDS.values():
        _imported(contract)


def _imported(target: str) -> Any:
    """Import what "module:Class" names; the module itself where there's no class."""
    module, _, attribute = target.partition(":")
    value: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        value = getattr(value, part)
    return value


def _summary(target: Any) -> str:
    return (inspect.getdoc(target) or "").partition("\n")[0]


def fault(record: PluginRecord, target: Any) -> str:
    """Say why what was imported can't be used as a plugin of its kind; empty where it can."""
    if record.kind == "hooks":
        return misspelt_hook(target)
    contract = _imported(KINDS[record.kind])
    if not _is_subclass(target, contract):
        return f"{record.target} is no subclass of inv3d.{contract.__name__}{_other_kind(target)}"
    if inspect.isabstract(target):
        missing = ", ".join(sorted(target.__abstractmethods__))
        return f"{record.target} is abstract: it lacks {missing}"
    if target.name != record.name:
        return f"{record.target} calls itself '{target.name}', its entry point '{record.name}'"
    if not _are_weight_files(target.weights):
        return f"{record.target}.weights is no tuple of inv3d.WeightFile"
    return (
        _mistyped(record, target)
        or _api_fault(record, target)
        or _options_fault(record, target)
        or _shadowed(record, target)
        or _lacks_directions(record, target)
    )


def _other_kind(target: Any) -> str:
    """Say in which group a class belongs, where it's a plugin of another kind."""
    for kind, where in KINDS.items():
        contract = _imported(where)
        if target is not contract and _is_subclass(target, contract):
            return f"; it's a {contract.__name__}, whose group is {GROUPS[kind]}"
    return ""


def _options_fault(record: PluginRecord, target: Any) -> str:
    """Say which table of options can't be built, and why."""
    from pydantic import ValidationError

    from inv3d.core.config import PluginConfig, explain

    for name in _TABLES:
        table, owner = getattr(target, name, PluginConfig), f"{record.target}.{name}"
        if not _is_subclass(table, PluginConfig):
            return f"{owner} is no subclass of inv3d.PluginConfig"
        try:
            table.model_validate({})
        except ValidationError as error:
            if any(e["loc"] and e["type"] != "missing" for e in error.errors()):
                return f"the default of {explain(error, table, owner)}"
        except Exception as error:  # pydantic's own, or what a validator raises
            return f"{owner} can't be built: {first_line(error)}"
    return ""


def _mistyped(record: PluginRecord, target: Any) -> str:
    """Say which attribute of a class isn't of the type that its kind demands."""
    for name in ("summary", "licence", "reference"):
        if not isinstance(getattr(target, name), str):
            return f"{record.target}.{name} is {getattr(target, name)!r}, expected a text"
    if not isinstance(target.presets, Mapping) or not all(
        isinstance(options, Mapping) for options in target.presets.values()
    ):
        return f"{record.target}.presets is no mapping of names to tables of options"
    names = [target.requires, getattr(target, "needs", ()), getattr(target, "signature", ())]
    for given in names:
        if isinstance(given, str) or not all(isinstance(name, str) for name in given):
            return f"{record.target} has {given!r} where a collection of names is expected"
    return ""


def _shadowed(record: PluginRecord, target: Any) -> str:
    """Say which option has the name of one that commands or other code use in another sense."""
    config, beside = target.Config, {}
    if record.kind == "losses":
        if "." in record.name:
            return "its name has a dot, which --set losses.NAME takes for the next name; rename it"
        beside = {name: f"--set losses.NAME.{name}" for name in _imported(LOSS_TERM).model_fields}
    elif record.kind == "methods":
        beside = {"generator": "--set generator.NAME"}
    elif record.kind == "editors":
        config = target.Edit
        beside = {name: f"--{name.replace('_', '-')} of 3dinv edit" for name in target.hidden}
    for name in (name for name in config.model_fields if name in beside):
        return (
            f"its option '{name}' is hidden by {beside[name]}, which every "
            f"{singular(record.kind)} shares; rename it"
        )
    return "" if record.own else _retyped(target.Config)


def _lacks_directions(record: PluginRecord, target: Any) -> str:
    """Say that an editor needs directions and has no way to them."""
    if record.kind != "editors" or not target.needs_directions:
        return ""
    contract = _imported(KINDS[record.kind])
    ways = ("fit", "take", "shipped")
    if any(_function(target, name) is not _function(contract, name) for name in ways):
        return ""
    return (
        f"{record.target} needs directions, but has no {', '.join(ways[:-1])} or {ways[-1]}; write "
        "fit, or set needs_directions = False"
    )


def _function(target: Any, name: str) -> Any:
    """The function of a method, bound to a class or not."""
    found = getattr(target, name)
    return getattr(found, "__func__", found)


def _retyped(config: Any) -> str:
    """Say which option of a class of ours a subclass gives another type."""
    package = __name__.partition(".")[0]
    for base in config.__mro__:
        if base.__module__.partition(".")[0] != package:
            continue
        for name, field in getattr(base, "model_fields", {}).items():
            found = config.model_fields[name].annotation
            if not _narrows(found, field.annotation):
                return (
                    f"its option '{name}' is one of inv3d.{base.__name__} with another type; keep "
                    "the type, or rename the option"
                )
    return ""


def _narrows(found: Any, shared: Any) -> bool:
    """Whether values of a type are values of the one that is shared, as far as types tell."""
    if found == shared or (_is_subclass(found, shared) if inspect.isclass(shared) else False):
        return True
    wide, narrow = set(get_args(shared)), set(get_args(found)) or {found}
    return bool(wide) and narrow <= wide


def kind_of(target: Any) -> str:
    """Return the kind of a plugin class, or hooks where it's none.

    Raises:
        PluginError: where it's a class of no kind.
    """
    for kind, contract in KINDS.items():
        if _is_subclass(target, _imported(contract)):
            return kind
    if inspect.isclass(target):
        raise PluginError(f"{target.__name__} is no subclass of any of inv3d's kinds of plugins")
    return "hooks"


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


def _api_fault(record: PluginRecord, plugin: Any) -> str:
    """Say what is wrong with the API version that a plugin was written for."""
    from inv3d.core.plugin import API_VERSION

    if not _declares_api(plugin):
        return (
            f"{record.target} doesn't say which plugin API it was written for; add the line "
            f'api = "{API_VERSION}" to the class'
        )
    return api_fault(plugin.api, API_VERSION, record.distribution if record.version else "it")
