"""Hooks: found, checked, called one plugin at a time."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inv3d.core.errors import PluginError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hooks import Observers, hooks
from inv3d.core.registry.hookspecs import HookSpecs, hookimpl, manager, misspelt_hook


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Offer modules as hook plugins."""

    def offer(**modules: types.ModuleType) -> None:
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, f"hook_{name}", module)
        entries = ",".join(f"hooks:{name}=hook_{name}" for name in modules)
        monkeypatch.setenv("INV3D_PLUGINS", entries)
        registry.cache_clear()
        hooks.cache_clear()

    yield offer
    monkeypatch.undo()
    registry.cache_clear()
    hooks.cache_clear()


def module(**functions: Any) -> types.ModuleType:
    made = types.ModuleType("hook")
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


def test_a_good_module_has_no_fault() -> None:
    good = module(inv3d_run_end=lambda directory, metrics: None)
    assert misspelt_hook(good) == ""


def test_a_misspelt_hook_is_a_fault() -> None:
    assert "inv3d_run_stop" in misspelt_hook(module(inv3d_run_stop=lambda directory: None))


def test_a_wrong_argument_is_a_fault() -> None:
    assert "folder" in misspelt_hook(module(inv3d_run_start=lambda folder: None))


def test_broken_modules_are_left_out_with_a_warning(offered: Any) -> None:
    offered(good=module(inv3d_run_start=lambda directory: None), bad=module(inv3d_oops=lambda: 0))
    with pytest.warns(UserWarning, match=r"hook 'bad' can't be used: .*inv3d_oops"):
        found = hooks()
    assert [name for name, _ in found.list_name_plugin()] == ["good"]


def test_strict_makes_them_errors(offered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(bad=module(inv3d_oops=lambda: 0))
    monkeypatch.setenv("INV3D_STRICT", "1")
    with pytest.raises(PluginError, match="hook 'bad' can't be used"):
        hooks()


def test_disabled_modules_are_silent(offered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_DISABLE", "bad")
    offered(bad=module(inv3d_oops=lambda: 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hooks().list_name_plugin() == []


def observers(**modules: types.ModuleType) -> tuple[Observers, list[str]]:
    found, said = manager(), list[str]()
    for name, plugin in modules.items():
        found.register(plugin, name)
    return Observers(found, said.append), said


def test_a_hook_that_raises_is_reported_once_and_then_left_out() -> None:
    calls: list[str] = []

    def fails(directory: Path) -> None:
        calls.append("bad")
        raise ValueError("oops")

    good = module(inv3d_run_start=lambda directory: calls.append("good"))
    watching, said = observers(first=good, bad=module(inv3d_run_start=fails))
    for _ in range(3):
        watching.call("inv3d_run_start", directory=Path(), config={})
    assert sorted(calls) == ["bad", "good", "good", "good"]
    assert said == [
        "hooks 'bad' failed in inv3d_run_start (ValueError: oops); they're left out from here on"
    ]


def test_results_of_all_plugins_are_returned() -> None:
    watching, _ = observers(
        a=module(inv3d_exporters=lambda: {"x": 1}), b=module(inv3d_exporters=lambda: {"y": 2})
    )
    found: dict[str, int] = {}
    for part in watching.call("inv3d_exporters"):
        found |= part
    assert found == {"x": 1, "y": 2}


def test_every_hook_is_documented() -> None:
    names = [name for name in vars(HookSpecs) if name.startswith("inv3d_")]
    assert len(names) == 5
    assert all(getattr(HookSpecs, name).__doc__ for name in names)
