"""`3dinv list-plugins`; what it says of installed distributions is in test_installed.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from inv3d.cli import main
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.known_plugins import KNOWN
from inv3d.core.registry.record import singular

TOY = "generators:toy=inv3d.testing.toy:ToyGenerator"


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", f"{TOY},methods:gone=no_such_module:M")
    registry.cache_clear()
    yield
    registry.cache_clear()


def rows(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["list-plugins", "--json", *arguments])
    assert result.exit_code == 0, result.stderr
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_rows_are_sorted_by_kind_and_name() -> None:
    result = CliRunner().invoke(main, ["list-plugins", "--json", "--no-check"])
    keys = [(row["kind"], row["name"]) for row in json.loads(result.stdout)]
    assert keys == sorted(keys)


@pytest.mark.parametrize("kind", ["methods", "method"])
def test_one_kind(kind: str) -> None:
    found = rows("--kind", kind)
    assert {row["kind"] for row in found.values()} == {"methods"}
    assert found["gone"]["status"] == "broken"
    assert "No module named 'no_such_module'" in found["gone"]["reason"]
    assert found["multilatent"]["summary"]


def test_the_table_shows_reason_or_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = CliRunner().invoke(main, ["list-plugins"])
    assert max(map(len, narrow.stdout.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "300")
    result = CliRunner().invoke(main, ["list-plugins"])
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["kind", "name", "status", "from", "summary", "or", "reason"]
    (gone,) = [line for line in lines if " gone " in line]
    assert "broken" in gone
    assert "ModuleNotFoundError" in gone
    (toy,) = [line for line in lines if " toy " in line]
    assert "INV3D_PLUGINS" in toy
    assert "coloured Gaussian blobs" in toy
    (count,) = [line for line in lines if " plugins: " in line]
    assert count.endswith(" ok, 1 broken")


def test_without_third_parties_ours_are_left() -> None:
    found = rows("--no-third-party")
    assert {row["distribution"] for row in found.values()} == {"3dinv"}
    assert {"wplus", "mse", "minihead", "tensorboard"} <= set(found)


def test_requirements_name_the_distributions_of_others() -> None:
    result = CliRunner().invoke(main, ["list-plugins", "--format", "requirements"])
    lines = result.stdout.splitlines()
    # what the environment variable names has no version that could be installed
    assert result.exit_code == 0 and not [line for line in lines if "3dinv=" in line]
    assert all("==" in line or " @ " in line for line in lines)


def test_nothing_can_be_timed_that_isnt_imported() -> None:
    result = CliRunner().invoke(main, ["list-plugins", "--times", "--no-check"])
    assert result.exit_code == 2 and "nothing to check or to time" in result.stderr


def test_known_plugins_that_arent_there_have_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(main, ["list-plugins", "--no-check"]).stdout
    missing = shown.partition("not installed")[2]
    for known in KNOWN:
        assert f"{singular(known.kind)} {known.name}" in missing and known.install in missing
    assert (
        "not installed"
        not in CliRunner().invoke(main, ["list-plugins", "--no-check", "--kind", "losses"]).stdout
    )


@pytest.mark.slow
def test_times_are_those_of_each_import() -> None:
    found = rows("--kind", "losses", "--times")
    assert all(row["seconds"] is not None for row in found.values())
    result = CliRunner().invoke(main, ["list-plugins", "--kind", "hooks", "--times"])
    assert "seconds" in result.stdout.splitlines()[0]


@pytest.mark.slow
def test_own_plugins_can_be_imported_too() -> None:
    found = rows("--check")
    own = {name: row for name, row in found.items() if row["distribution"] == "3dinv"}
    assert len(own) >= 18
    assert {name: row["reason"] for name, row in own.items() if row["status"] != "ok"} == {}
