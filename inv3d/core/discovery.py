"""Plugins, found through entry points: metadata only until one is used."""

from __future__ import annotations

import configparser
import contextlib
import importlib
import importlib.metadata
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import entrypoints

from inv3d.core.errors import PluginError, suggest

Status = Literal["ok", "broken", "duplicate", "disabled"]

KINDS = {
    "generators": "Generator",
    "methods": "Inverter",
    "losses": "Loss",
    "editors": "Editor",
}
GROUPS = {kind: f"inv3d.{kind}" for kind in (*KINDS, "hooks")}
API_VERSION = "1.0"
OWN_DISTRIBUTION = "3dinv"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class PluginRecord:
    """One entry point that was found.

    Attributes:
        name: of the plugin.
        kind: generators, methods, losses, editors or hooks.
        distribution: that it comes from, or the environment variable.
        version: of that distribution.
        target: "module:Class".
        status: ok until something is known to be wrong.
        reason: what is wrong and what to do, empty if nothing.
        summary: what the plugin says of itself, known once it was imported.
    """

    name: str
    kind: str
    distribution: str
    version: str
    target: str
    status: Status = "ok"
    reason: str = ""
    summary: str = ""

    @property
    def own(self) -> bool:
        """Whether the plugin belongs to this package."""
        return self.distribution == OWN_DISTRIBUTION


class Registry:
    """All plugins of this environment.

    Scanning reads metadata and imports nothing. A plugin that can't be used is a record with a
    reason; only using it is an error.
    """

    def __init__(self, records: Iterable[PluginRecord]) -> None:
        disabled = {_normal(name) for name in _listed("INV3D_DISABLE")}
        self.records = _mark_duplicates([_mark_disabled(r, disabled) for r in records])

    def of_kind(self, kind: str) -> list[PluginRecord]:
        """Return the records of one kind, sorted by name."""
        return sorted((r for r in self.records if r.kind == kind), key=lambda r: r.name)

    def record(self, kind: str, name: str) -> PluginRecord:
        """Return the usable record of a name.

        Raises:
            PluginError: where the name is unknown (with the nearest one), duplicated or disabled.
        """
        found = [r for r in self.records if r.kind == kind and r.name == name]
        if not found:
            known = {r.name for r in self.records if r.kind == kind and r.status == "ok"}
            raise PluginError(
                f"unknown {singular(kind)} '{name}'{suggest(name, known)}; see '3dinv list-plugins'"
            )
        usable = [r for r in found if r.status == "ok"]
        if not usable:
            raise PluginError(f"{singular(kind)} '{name}' can't be used: {found[0].reason}")
        return usable[0]

    def load(self, kind: str, name: str) -> Any:
        """Import a plugin and return its class (for hooks: its module).

        Raises:
            PluginError: where it's unknown, can't be imported, or isn't what its kind demands.
        """
        record = self.record(kind, name)
        checked, target = import_plugin(record)
        if checked.status != "ok":
            raise PluginError(f"{singular(kind)} '{name}' can't be used: {checked.reason}")
        return target


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Return the registry of this process, scanned once."""
    return Registry([*_installed(), *_from_environment()])


def _installed() -> Iterator[PluginRecord]:
    """Read the entry points of all distributions; one that can't be read is a broken record."""
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        text = distribution.read_text("entry_points.txt")
        if not text or "inv3d." not in text:
            continue
        name = distribution.metadata["Name"] or "unknown"
        if _normal(name) not in seen:
            seen.add(_normal(name))
            yield from _parsed(text, name, distribution.version)


def _parsed(text: str, distribution: str, version: str) -> Iterator[PluginRecord]:
    """Parse an `entry_points.txt`; this alone knows the `entrypoints` package."""
    parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",), interpolation=None)
    try:
        parser.read_string(text, "entry_points.txt")
    except configparser.Error as error:
        reason = f"its entry_points.txt can't be parsed: {_first_line(error)}"
        yield PluginRecord("?", "?", distribution, version, "", "broken", reason)
        return
    for kind, group in GROUPS.items():
        for name, value in parser[group].items() if group in parser else ():
            yield _entry(name, kind, distribution, version, value)


def _entry(name: str, kind: str, distribution: str, version: str, value: str) -> PluginRecord:
    """Return the record of one entry point, broken where name or value are malformed."""
    record = PluginRecord(name, kind, distribution, version, value)
    if not _NAME.fullmatch(name):
        reason = f"its name {name!r} has other characters than letters, digits and any of _.-"
        return replace(record, status="broken", reason=reason)
    try:
        point = entrypoints.EntryPoint.from_string(value, name)
    except entrypoints.BadEntryPoint:
        reason = f"its entry point {value!r} isn't of the form module:Class"
        return replace(record, status="broken", reason=reason)
    target = ":".join(filter(None, (point.module_name, point.object_name)))
    return replace(record, target=target)


def _from_environment() -> Iterable[PluginRecord]:
    """Read INV3D_PLUGINS="methods:mine=module:Class,...", for development."""
    for entry in _listed("INV3D_PLUGINS"):
        kind, _, rest = entry.partition(":")
        name, _, target = rest.partition("=")
        if kind not in GROUPS or not name or not target:
            raise PluginError(
                f"INV3D_PLUGINS: {entry!r}: expected KIND:NAME=MODULE:CLASS with a kind of "
                f"{', '.join(GROUPS)}"
            )
        yield _entry(name, kind, "INV3D_PLUGINS", "", target)


def _listed(variable: str) -> list[str]:
    """Return what an environment variable lists between commas."""
    return [part.strip() for part in os.environ.get(variable, "").split(",") if part.strip()]


def _mark_disabled(record: PluginRecord, disabled: set[str]) -> PluginRecord:
    if disabled & {_normal(record.name), _normal(record.distribution)}:
        return replace(record, status="disabled", reason="left out by INV3D_DISABLE")
    return record


def _mark_duplicates(records: list[PluginRecord]) -> list[PluginRecord]:
    owners: dict[tuple[str, str], list[PluginRecord]] = {}
    for record in records:
        if record.status == "ok":
            owners.setdefault((record.kind, record.name), []).append(record)

    def marked(record: PluginRecord) -> PluginRecord:
        same = owners.get((record.kind, record.name), [])
        if record.status != "ok" or len(same) < 2:
            return record
        names = " and ".join(sorted(f"{r.distribution} ({r.target})" for r in same))
        reason = f"offered by {names}; uninstall one or name its distribution in INV3D_DISABLE"
        return replace(record, status="duplicate", reason=reason)

    return [marked(record) for record in records]


def import_plugin(record: PluginRecord) -> tuple[PluginRecord, Any]:
    """Import a plugin and check it. What it prints meanwhile goes to stderr.

    Returns:
        The record, with status "broken" and a reason where it can't be used, and what was
        imported (None where nothing was).
    """
    module_name, _, attribute = record.target.partition(":")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            target: Any = importlib.import_module(module_name)
            for part in filter(None, attribute.split(".")):
                target = getattr(target, part)
            reason = _fault(record, target)
    except (Exception, SystemExit) as error:
        reason = f"import of {record.target}: {type(error).__name__}: {_first_line(error)}"
        return replace(record, status="broken", reason=reason), None
    if reason:
        return replace(record, status="broken", reason=reason), target
    return replace(record, summary=getattr(target, "summary", "") or _summary(target)), target


def _summary(target: Any) -> str:
    return (inspect.getdoc(target) or "").partition("\n")[0]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")


def _fault(record: PluginRecord, target: Any) -> str:
    if record.kind == "hooks":
        from inv3d.core.hooks import hooks_fault

        return hooks_fault(target)
    from inv3d.core import interfaces
    from inv3d.core.config import PluginConfig

    contract: Any = getattr(interfaces, KINDS[record.kind])
    if not _is_subclass(target, contract):
        return f"{record.target} is no subclass of inv3d.core.interfaces.{contract.__name__}"
    if inspect.isabstract(target):
        missing = ", ".join(sorted(target.__abstractmethods__))
        return f"{record.target} is abstract: it lacks {missing}"
    if target.name != record.name:
        return f"{record.target} calls itself '{target.name}', its entry point '{record.name}'"
    if not _is_subclass(target.Config, PluginConfig):
        return f"{record.target}.Config is no subclass of inv3d.core.config.PluginConfig"
    if not _are_weight_files(target.weights):
        return f"{record.target}.weights is no tuple of inv3d.core.weight_files.WeightFile"
    return _api_fault(target.api)


def _is_subclass(value: Any, contract: type) -> bool:
    return inspect.isclass(value) and issubclass(value, contract)


def _are_weight_files(value: Any) -> bool:
    from inv3d.core.weight_files import WeightFile

    return isinstance(value, tuple) and all(isinstance(file, WeightFile) for file in value)


def _api_fault(wanted: str) -> str:
    """Say what is wrong with the API version that a plugin was written for."""
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


def singular(kind: str) -> str:
    """Return the word for one plugin of a kind."""
    return {"losses": "loss"}.get(kind, kind.removesuffix("s"))


def _normal(name: str) -> str:
    """Spell a name as package indexes do, so that my_plugin and My-Plugin are one."""
    return re.sub(r"[-_.]+", "-", name).lower()
