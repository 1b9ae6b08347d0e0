"""Plugins, found through entry points: metadata only until one is used."""

from __future__ import annotations

import configparser
import difflib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import entrypoints

from inv3d.core.arguments import expect
from inv3d.core.errors import PluginError, suggest
from inv3d.core.registry.imports import import_plugin
from inv3d.core.registry.metadata import declared, normal
from inv3d.core.registry.record import (
    GROUPS,
    OWN_DISTRIBUTION,
    UNKNOWN,
    PluginRecord,
    singular,
)

PLUGINS = "INV3D_PLUGINS"
PREFER = "INV3D_PREFER"
VALID_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# groups that are meant to be ours, also as a pyproject.toml spells them
_NEAR_GROUP = re.compile(
    r"""[\s"']*(project\.entry-points\.)?["']*(inv3d|3dinv|threedinv)[^a-z0-9]*""", re.IGNORECASE
)


class Registry:
    """All plugins of this environment.

    Scanning reads metadata and imports nothing. A plugin that can't be used is a record with a
    reason; only using it is an error.
    """

    def __init__(self, records: Iterable[PluginRecord]) -> None:
        disabled = {normal(name) for name in _listed("INV3D_DISABLE")}
        usable = [_mark_disabled(record, disabled) for record in records]
        self.records = _mark_duplicates(usable, _preferred())

    def of_kind(self, kind: str) -> list[PluginRecord]:
        """Return the records of one kind, sorted by name."""
        return sorted((r for r in self.records if r.kind == kind), key=lambda r: r.name)

    def record(self, kind: str, name: str) -> PluginRecord:
        """Return the usable record of a name.

        Raises:
            ConfigError: where the name is no text.
            PluginError: where the name is unknown (with the nearest one), duplicated or disabled.
        """
        expect(singular(kind), name, str, "text; give the name of the plugin")
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

    def unfulfilled(self) -> Iterator[str]:
        """Say which wishes of the environment have no effect, and why."""
        for record in self.records:
            if record.distribution == PLUGINS and record.status == "duplicate":
                yield f"{PLUGINS}: {singular(record.kind)} '{record.name}': {record.reason}"
        offered = {(r.kind, r.name, normal(r.distribution)) for r in self.records}
        for (kind, name), owner in _preferred().items():
            if (kind, name, normal(owner)) not in offered:
                yield f"{PREFER}: no distribution {owner} offers a {singular(kind)} '{name}'"

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
    found = Registry([*_installed(), *_from_environment()])
    for wish in found.unfulfilled():
        warnings.warn(wish, stacklevel=2)
    return found


def _installed() -> Iterator[PluginRecord]:
    """Read the entry points of all distributions; one that can't be read is a broken record."""
    for found in declared():
        if found.fault:
            yield _unreadable(found.distribution, found.version, found.fault)
        else:
            yield from _parsed(found.text, found.distribution, found.version)


def _unreadable(distribution: str, version: str, reason: str) -> PluginRecord:
    return PluginRecord("?", UNKNOWN, distribution, version, "", "broken", reason)


def _parsed(text: str, distribution: str, version: str) -> Iterator[PluginRecord]:
    """Parse an `entry_points.txt`; this alone knows the `entrypoints` package."""
    parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",), interpolation=None)
    try:
        parser.read_string(_without_repeats(text), "entry_points.txt")
    except configparser.Error as error:
        said = " ".join(str(error).split())
        reason = (
            f"its entry_points.txt can't be parsed ({said}); correct the entry points in its "
            "pyproject.toml and install it again"
        )
        yield _unreadable(distribution, version, reason)
        return
    kinds = {group: kind for kind, group in GROUPS.items()}
    for group in parser.sections():
        for name, value in parser[group].items():
            if group in kinds:
                yield _entry(name, kinds[group], distribution, version, value)
            elif _NEAR_GROUP.match(group):
                yield _misplaced(PluginRecord(name, UNKNOWN, distribution, version, value), group)


def _without_repeats(text: str) -> str:
    """Leave out lines that stand twice in one group: the same entry point, said again."""
    kept, said, group = [], set(), ""
    for line in text.splitlines():
        group = line if line.startswith("[") else group
        entry = (group, "".join(line.split()))
        if line.startswith("[") or not line.strip() or entry not in said:
            kept.append(line)
        said.add(entry)
    return "\n".join(kept)


def _misplaced(record: PluginRecord, group: str) -> PluginRecord:
    """Return the record of an entry point whose group is spelt almost as one of ours."""
    spelt = _NEAR_GROUP.sub("", group, count=1).strip(" \t\"'").lower()
    near = difflib.get_close_matches(spelt, GROUPS, n=1)
    known = f"'{GROUPS[near[0]]}'" if near else f"one of {', '.join(GROUPS.values())}"
    reason = (
        f"its group '{group}' is none of 3dinv's; write {known} in its pyproject.toml and "
        "install it again"
    )
    kind = near[0] if near else UNKNOWN
    return replace(record, kind=kind, status="broken", reason=reason)


def _entry(name: str, kind: str, distribution: str, version: str, value: str) -> PluginRecord:
    """Return the record of one entry point, broken where name or value are malformed."""
    record = PluginRecord(name, kind, distribution, version, value)
    if not VALID_NAME.fullmatch(name):
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
    for entry in _listed(PLUGINS):
        kind, _, rest = entry.partition(":")
        name, _, target = rest.partition("=")
        if kind not in GROUPS or not name or not target:
            raise PluginError(
                f"{PLUGINS}: {entry!r}: expected KIND:NAME=MODULE:CLASS with a kind of "
                f"{', '.join(GROUPS)}"
            )
        yield _entry(name, kind, PLUGINS, "", target)


def _listed(variable: str) -> list[str]:
    """Return what an environment variable lists between commas."""
    return [part.strip() for part in os.environ.get(variable, "").split(",") if part.strip()]


def _preferred() -> dict[tuple[str, str], str]:
    """Read INV3D_PREFER="losses:mse=their-dist,...": (kind, name) -> distribution."""
    chosen = {}
    for entry in _listed(PREFER):
        kind, _, rest = entry.partition(":")
        name, _, distribution = rest.partition("=")
        if kind not in GROUPS or not name or not distribution:
            raise PluginError(
                f"{PREFER}: {entry!r}: expected KIND:NAME=DISTRIBUTION with a kind of "
                f"{', '.join(GROUPS)}"
            )
        chosen[kind, name] = distribution
    return chosen


def _mark_disabled(record: PluginRecord, disabled: set[str]) -> PluginRecord:
    if disabled & {normal(record.name), normal(record.distribution)}:
        return replace(record, status="disabled", reason="left out by INV3D_DISABLE")
    return record


def _mark_duplicates(
    records: list[PluginRecord], preferred: Mapping[tuple[str, str], str]
) -> list[PluginRecord]:
    """Let one of several plugins of a name be used: the preferred one, else ours, else none."""
    owners: dict[tuple[str, str], list[PluginRecord]] = {}
    for record in records:
        if record.status == "ok":
            owners.setdefault((record.kind, record.name), []).append(record)

    def marked(record: PluginRecord) -> PluginRecord:
        key = record.kind, record.name
        same = owners.get(key, [])
        if record.status != "ok" or len(same) < 2:
            return record
        used = _chosen(same, preferred.get(key, OWN_DISTRIBUTION))
        if record is used:
            return record
        return replace(record, status="duplicate", reason=_rivalry(record, same, used))

    return [marked(record) for record in records]


def _chosen(same: list[PluginRecord], distribution: str) -> PluginRecord | None:
    """Return the only one of a distribution; none where it has none, or two."""
    found = [r for r in same if normal(r.distribution) == normal(distribution)]
    return found[0] if len(found) == 1 else None


def _rivalry(record: PluginRecord, same: list[PluginRecord], used: PluginRecord | None) -> str:
    """Say who offers a name, which of them is used, and how another one is chosen."""
    names = " and ".join(sorted(f"{r.distribution} ({r.target})" for r in same))
    choice = f"{PREFER}={record.kind}:{record.name}={record.distribution}"
    if used is None:
        owner = record.distribution
        return f"offered by {names}; uninstall one, or choose that of {owner} with {choice}"
    return f"offered by {names}; that of {used.distribution} is used; {choice} takes the other"
