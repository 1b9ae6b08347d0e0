"""Distributions that are really built and installed: throw-away plugins, and our own wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.environment import PIP, ROOT, Environment

METHOD = """
from inv3d.core.inverter import Inverter

class {cls}(Inverter):
    name = "{name}"
    summary = "thrown away"
    api = "{api}"

    def steps(self, generator, capture, context):
        yield from ()
"""


def method(name: str, api: str = "1.0", cls: str = "M") -> str:
    return METHOD.format(name=name, api=api, cls=cls)


# distribution -> (version, group -> entry points, module -> source)
DISTRIBUTIONS: dict[str, tuple[str, dict[str, dict[str, str]], dict[str, str]]] = {
    "thrown-good": (
        "1.2.3",
        {
            "inv3d.methods": {"good": "thrown_good:M", "twin": "thrown_good:T"},
            "inv3d.hooks": {"greeter": "thrown_good_hooks"},
        },
        {
            "thrown_good": "print('noise at import')\n" + method("good") + method("twin", cls="T"),
            "thrown_good_hooks": (
                '"""Adds the command greet."""\n'
                "import click\nfrom inv3d.core.registry.hookspecs import hookimpl\n\n"
                "@hookimpl\ndef inv3d_commands(group):\n"
                "    group.add_command(click.Command('greet', short_help='Say hello.',\n"
                "        callback=lambda: click.echo('hello')))\n"
            ),
        },
    ),
    "thrown-twin": (
        "0.1",
        {
            "inv3d.methods": {"twin": "thrown_twin:M"},
            "inv3d.losses": {"mse": "thrown_twin:Nothing"},
        },
        {"thrown_twin": method("twin")},
    ),
    "thrown-broken": (
        "9.0",
        {
            "inv3d.methods": {
                "missing": "thrown_missing:M",
                "quits": "thrown_quits:M",
                "abstract": "thrown_abstract:M",
                "old": "thrown_old:M",
                "new": "thrown_new:M",
                "silent": "thrown_silent:M",
            },
            "inv3d.generators": {"wrong": "thrown_old:M"},
            "inv3d.hooks": {"misspelt": "thrown_misspelt"},
        },
        {
            "thrown_missing": "import no_such_package\n",
            "thrown_quits": "import sys\nsys.exit(0)\n",
            "thrown_abstract": method("abstract").replace("def steps", "def stride"),
            "thrown_old": method("old", api="0.3"),
            "thrown_new": method("new", api="1.9"),
            "thrown_silent": method("silent").replace('api = "1.0"', ""),
            "thrown_misspelt": (
                "from inv3d.core.registry.hookspecs import hookimpl\n\n"
                "@hookimpl\ndef inv3d_run_stop(directory): pass\n"
            ),
        },
    ),
}


def write_project(name: str, folder: Path) -> Path:
    version, groups, modules = DISTRIBUTIONS[name]
    folder.mkdir()
    points = "".join(
        f'[project.entry-points."{group}"]\n'
        + "".join(f'{point} = "{target}"\n' for point, target in entries.items())
        for group, entries in groups.items()
    )
    only = ", ".join(f'"{module}.py"' for module in modules)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\n{points}'
        f"[tool.hatch.build.targets.wheel]\nonly-include = [{only}]\n"
    )
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with all the distributions installed."""
    folder = tmp_path_factory.mktemp("installed")
    made = Environment(folder / "venv")
    projects = [write_project(name, folder / name) for name in DISTRIBUTIONS]
    made.pip("install", *PIP, *projects)
    return made


@pytest.fixture(scope="module")
def rows(environment: Environment) -> dict[tuple[str, str], dict[str, Any]]:
    """What `list-plugins --json` says."""
    return environment.rows()


def test_a_good_plugin_is_a_row_that_says_where_it_comes_from(rows: Any) -> None:
    row = rows["good", "thrown-good"]
    assert row.pop("seconds") >= 0 and row.pop("file").endswith("thrown_good.py")
    assert row == {
        "name": "good",
        "kind": "methods",
        "distribution": "thrown-good",
        "version": "1.2.3",
        "target": "thrown_good:M",
        "status": "ok",
        "reason": "",
        "summary": "thrown away",
        "licence": "not stated",
        "reference": "",
        "capabilities": [],
        "prints": True,
        "changes": [],
    }
    assert rows["greeter", "thrown-good"]["status"] == "ok"
    assert rows["greeter", "thrown-good"]["summary"] == "Adds the command greet."


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("quits", "import of thrown_quits:M: SystemExit: 0"),
        ("abstract", "thrown_abstract:M is abstract: it lacks steps"),
        ("old", "written for plugin API 0.3, this 3dinv has 1.0; upgrade thrown-broken"),
        ("new", "written for plugin API 1.9, this 3dinv has 1.0; upgrade 3dinv"),
        ("silent", 'which plugin API it was written for; add the line api = "1.0" to the class'),
        ("wrong", "thrown_old:M is no subclass of inv3d.Generator"),
        ("misspelt", "inv3d_run_stop"),
    ],
)
def test_a_broken_plugin_is_a_row_with_the_reason(rows: Any, name: str, reason: str) -> None:
    row = rows[name, "thrown-broken"]
    assert row["status"] == "broken"
    assert reason in row["reason"]


def test_two_owners_of_a_name_are_named_in_both_rows(rows: Any) -> None:
    for owner in ("thrown-good", "thrown-twin"):
        assert rows["twin", owner]["status"] == "duplicate"
        assert (
            "thrown-good (thrown_good:T) and thrown-twin (thrown_twin:M)"
            in (rows["twin", owner]["reason"])
        )


def test_a_built_in_name_stays_ours_until_the_user_says_otherwise(
    environment: Environment, rows: Any
) -> None:
    assert rows["mse", "3dinv"]["status"] == "ok"
    assert rows["mse", "thrown-twin"]["status"] == "duplicate"
    assert rows["mse", "thrown-twin"]["reason"] == (
        "offered by 3dinv (inv3d.plugins.losses.pixel:MSE) and thrown-twin (thrown_twin:Nothing); "
        "that of 3dinv is used; INV3D_PREFER=losses:mse=thrown-twin takes the other"
    )
    found = environment.rows("--no-check", INV3D_PREFER="losses:mse=thrown-twin")
    assert found["mse", "3dinv"]["status"] == "duplicate"
    assert found["mse", "thrown-twin"]["status"] == "ok"


def test_nothing_is_imported_without_the_check(environment: Environment) -> None:
    found = environment.rows("--no-check")
    assert found["missing", "thrown-broken"]["status"] == "ok"
    assert found["twin", "thrown-twin"]["status"] == "duplicate"


def test_the_table_lists_them_all(environment: Environment, rows: Any) -> None:
    done = environment.run("list-plugins")
    assert done.returncode == 0
    for name, owner in rows:
        assert any(name in line and owner in line for line in done.stdout.splitlines())
    assert "noise at import" not in done.stdout


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "no_such_package"), ("quits", "SystemExit"), ("twin", "offered by thrown-good")],
)
def test_using_a_broken_plugin_is_an_error_with_the_same_reason(
    environment: Environment, name: str, reason: str
) -> None:
    for arguments in (("info", name), ("run", "--method", name)):
        done = environment.run(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: method '{name}' can't be used: ")
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""


def test_info_of_an_installed_plugin_is_clean_json(environment: Environment) -> None:
    done = environment.run("info", "good", "--json")
    assert json.loads(done.stdout)["distribution"] == "thrown-good"
    assert "noise at import" in done.stderr


def test_disabled_plugins_are_rows_too(environment: Environment) -> None:
    found = environment.rows("--no-check", INV3D_DISABLE="thrown_twin,old")
    assert found["twin", "thrown-twin"]["status"] == "disabled"
    assert found["twin", "thrown-good"]["status"] == "ok"
    assert found["mse", "3dinv"]["status"] == "ok"
    assert found["old", "thrown-broken"]["reason"] == "left out by INV3D_DISABLE"


def test_strict_refuses_the_first_broken_plugin(environment: Environment) -> None:
    hooks = ("list-plugins", "--kind", "hooks")
    done = environment.run(*hooks, INV3D_STRICT="1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: hook 'misspelt' of thrown-broken: ")
    done = environment.run(*hooks, INV3D_STRICT="1", INV3D_DISABLE="thrown-broken")
    assert done.returncode == 0


def test_a_plugin_adds_a_command(environment: Environment) -> None:
    shown = environment.run("--help")
    assert "greet         Say hello." in shown.stdout
    assert "warning: hook 'misspelt' can't be used" in shown.stderr
    assert environment.run("greet").stdout == "hello\n"
    quiet = environment.run("--help", INV3D_DISABLE="misspelt")
    assert quiet.stderr == ""


@pytest.mark.parametrize(("disabled", "started"), [((), 1), (("greeter",), 0)])
def test_only_plugins_of_others_are_imported_by_another_interpreter(
    environment: Environment, disabled: tuple[str, ...], started: int
) -> None:
    code = (
        "import sys; from inv3d.cli import main\n"
        "sys.addaudithook(lambda event, _: event == 'subprocess.Popen' and print('started'))\n"
        "main(['list-plugins'])"
    )
    left_out = ",".join(("good", "twin", "thrown-twin", "thrown-broken", *disabled))
    done = environment.python_run("-c", code, INV3D_DISABLE=left_out)
    assert done.returncode == 0
    assert done.stdout.splitlines().count("started") == started


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Our own wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_its_assets_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "inv3d"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert set(tracked) <= names
    assert "inv3d/py.typed" in names
    assert {"inv3d/assets/captures/dynamic.zip", "inv3d/assets/captures/static.zip"} <= names
    outside = {name for name in names if not name.startswith(("inv3d/", "3dinv-"))}
    assert not outside


def test_the_wheel_measures_itself_without_the_source_tree(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path / "site")
    quick = ("--rays", "16", "--repeats", "1", "--views", "1", "--no-memory", "--no-exact")
    done = subprocess.run(
        [sys.executable, "-m", "inv3d", "bench", "backbone", *quick, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] and [row["stage"] for row in report["rows"]] == ["backbone"] * 3


def test_the_wheel_declares_every_plugin_and_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(name).decode()
    assert "3dinv = inv3d.cli:main" in text
    names = set(wheel.namelist())
    targets = [line.split(" = ")[1] for line in text.splitlines() if " = " in line]
    assert len(targets) >= 19
    for target in targets:
        base = target.partition(":")[0].replace(".", "/")
        assert {f"{base}.py", f"{base}/__init__.py"} & names
