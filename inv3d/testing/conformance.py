"""Conformance: every check of a plugin's kind, run on one plugin.

In a test of your package:

    from inv3d.testing.conformance import check_plugin

    def test_it_conforms():
        check_plugin("edges", "losses").require()
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from inv3d.core.errors import PluginError, UsageError, suggest
from inv3d.core.generator import Generator, load_generator
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.imports import import_plugin, kind_of
from inv3d.core.registry.record import GROUPS, PluginRecord
from inv3d.core.weights.fetch import OFFLINE
from inv3d.testing import (
    editor_checks,
    estimator_checks,
    generator_checks,
    hook_checks,
    loss_checks,
    method_checks,
)
from inv3d.testing.results import Report
from inv3d.testing.subjects import STEPS, Subject
from inv3d.testing.suite import Suite

SUITES: dict[str, Suite[Subject]] = {
    "generators": generator_checks.SUITE,
    "methods": method_checks.SUITE,
    "losses": loss_checks.SUITE,
    "editors": editor_checks.SUITE,
    "estimators": estimator_checks.SUITE,
    "hooks": hook_checks.SUITE,
}
# how many checks there are: a suite that loses one is an error, not a smaller number
CHECKS = {
    "generators": 40,
    "methods": 36,
    "losses": 29,
    "editors": 28,
    "estimators": 26,
    "hooks": 15,
}


def check_plugin(
    plugin: str | type | ModuleType,
    kind: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    weights: Path | str | None = None,
    generator: str | Callable[[], Generator] | None = None,
    edit: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    steps: int = STEPS,
) -> Report:
    """Run every check of a plugin's kind.

    Args:
        plugin: its name, or a class or module of hooks that isn't installed (yet).
        kind: in the plural; needed where several kinds have the name.
        options: nested plain values, where its defaults don't suit a test.
        weights: its weight file, where it reads one.
        generator: that methods, editors and estimators are tried with: a name, or a function that
            makes one; the toy generator if None.
        edit: options of the edit that an editor is tried with.
        expected_failures: name of a check -> why it fails and may; one that passes all the same is
            a failure.
        device: where everything runs.
        steps: of every stage of a method or fit, at most.

    Returns:
        What came of each check; `require()` raises where one failed, `write(path)` writes JSON.

    Raises:
        PluginError: where there's no plugin of that name, or it can't be imported.
        UsageError: where a failure of a check that doesn't exist is expected.

    Example:
        >>> from inv3d.testing.conformance import check_plugin
        >>> print(check_plugin("mse").headline())
        loss mse: ...
    """
    record, target = _found(plugin, kind)
    given: dict[str, Any] = {"options": options or {}, "edit": edit or {}, "steps": steps}
    if isinstance(generator, str):
        name = generator
        given["generator"] = lambda: load_generator(name)
    elif generator is not None:
        given["generator"] = generator
    path = None if weights is None else Path(weights)
    subject = Subject(record, target, weights=path, device=torch.device(device), **given)
    suite = SUITES[record.kind]
    _count(record.kind, suite)
    with _offline(), torch.random.fork_rng(devices=[]):
        results = tuple(suite.run(subject, expected_failures or {}))
    return Report(record.kind, record.name, record.target, results)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Let nothing be downloaded for a check; weights that are here are used."""
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OFFLINE]
        else:
            os.environ[OFFLINE] = before


def _count(kind: str, suite: Suite[Subject]) -> None:
    if len(suite.checks) != CHECKS[kind]:
        raise AssertionError(
            f"the suite of {kind} has {len(suite.checks)} checks, expected {CHECKS[kind]}"
        )


def _found(plugin: str | type | ModuleType, kind: str | None) -> tuple[PluginRecord, Any]:
    """Return a plugin with its record, of an installed one or of what was handed over."""
    if not isinstance(plugin, str):
        where = plugin.__name__
        if inspect.isclass(plugin):
            where = f"{plugin.__module__}:{plugin.__qualname__}"
        name = getattr(plugin, "name", "") or where.rpartition(".")[2]
        return PluginRecord(name, kind or kind_of(plugin), "", "", where), plugin
    found = [r for r in registry().records if r.name == plugin and kind in (None, r.kind)]
    kinds = sorted({r.kind for r in found if r.kind in GROUPS})
    if not kinds:
        names = {r.name for r in registry().records if kind in (None, r.kind)}
        raise PluginError(
            f"unknown plugin '{plugin}'{suggest(plugin, names)}; see '3dinv list-plugins'"
        )
    if len(kinds) > 1:
        raise UsageError(f"'{plugin}' is the name of {' and '.join(kinds)}; name the kind")
    record, target = import_plugin(registry().record(kinds[0], plugin))
    if target is None:
        raise PluginError(f"'{plugin}' can't be used: {record.reason}")
    return record, target
