"""Plugins, found through entry points: metadata only until one is used."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import entrypoints

from inv3d.core.errors import PluginError, first_line, suggest
from inv3d.core.registry.imports import import_plugin
from inv3d.core.registry.record import GROUPS, PluginRecord, singular

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


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
        reason = f"its entry_points.txt can't be parsed: {first_line(error)}"
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


def _normal(name: str) -> str:
    """Spell a name as package indexes do, so that my_plugin and My-Plugin are one."""
    return re.sub(r"[-_.]+", "-", name).lower()
