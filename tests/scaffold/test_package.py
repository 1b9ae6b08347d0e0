"""Packages of plugins: those to begin with, one of each kind, and those of the examples.

Each is built, installed from its wheel, tested by its own tests, and used.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from inv3d.cli import main
from inv3d.core.registry.known_plugins import KNOWN
from inv3d.core.registry.record import GROUPS, singular
from tests.commands.run_cli import write_capture
from tests.environment import PIP, ROOT, Environment

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
EXAMPLES = sorted((ROOT / "examples" / "plugins").glob("inv3d-*"))
NAMES = {kind: f"my-{singular(kind)}" for kind in GROUPS}


OFFERED = {known.name: known.kind for known in KNOWN}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind, name in NAMES.items():
        words = ["new-plugin", name, "--kind", kind, "--out", str(folder / name), "--json"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.stderr
        written = {Path(file) for file in json.loads(done.stdout)["files"]}
        assert {p for p in (folder / name).rglob("*") if p.is_file()} == written
    return {kind: folder / name for kind, name in NAMES.items()}


@pytest.fixture(scope="module")
def environment(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment in which a wheel of each is installed."""
    folder = tmp_path_factory.mktemp("environment")
    made = Environment(folder / "venv")
    made.pip("wheel", *PIP, "--wheel-dir", folder / "wheels", *packages.values(), *EXAMPLES)
    made.pip("install", *PIP, *sorted((folder / "wheels").glob("*.whl")))
    return made


def test_nothing_of_the_template_is_left(packages: dict[str, Path]) -> None:
    for folder in packages.values():
        for path in (p for p in folder.rglob("*") if p.is_file()):
            text = path.read_text() + path.name
            assert not [
                word for word in ("zebra", "Zebra", "KIND", "TARGET", "USE") if word in text
            ]


@pytest.mark.slow
def test_they_are_all_there_and_pass_their_own_tests(
    environment: Environment, packages: dict[str, Path]
) -> None:
    rows = environment.rows()
    for kind, name in NAMES.items():
        row = rows[name, f"inv3d-{name}"]
        assert (row["kind"], row["status"]) == (kind, "ok"), row["reason"]
        assert row["summary"]
    for name, kind in OFFERED.items():
        row = rows[name, f"inv3d-{name}"]
        assert (row["kind"], row["status"]) == (kind, "ok"), row["reason"]
    tests = [str(folder / "tests") for folder in (*packages.values(), *EXAMPLES)]
    done = environment.python_run(
        "-m",
        "pytest",
        "-q",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "-s",
        *tests,
        **ONE_THREAD,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "checks: " in done.stdout and "failed" not in done.stdout


@pytest.mark.slow
def test_they_work_together_in_a_run(environment: Environment, tmp_path: Path) -> None:
    """The generator inverts pictures with method and loss, the hooks watch it."""
    capture, out = write_capture(tmp_path / "capture", 3), tmp_path / "run"
    done = environment.run(
        "run",
        "--method",
        NAMES["methods"],
        "--generator",
        NAMES["generators"],
        "--input",
        str(capture),
        "--set",
        "steps=4",
        "--set",
        f"losses.{NAMES['losses']}=0.1",
        "--set",
        "generator.size=16",
        "--out",
        str(out),
        "--json",
        **ONE_THREAD,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]["method"]["distribution"] == "inv3d-my-method"
    assert NAMES["losses"] in (out / "steps.jsonl").read_text()
    assert (out / "mesh.glb").is_file() and (out / "report.html").is_file()
    shown = environment.run(NAMES["hooks"], str(out))
    assert "latent: " in shown.stdout and "after 4 steps" in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("My Plugin", "--kind", "method"), "NAME 'My Plugin': expected small letters"),
        (("3d", "--kind", "method"), "NAME '3d': expected small letters"),
        (("wplus", "--kind", "method"), "3dinv has a method of this name"),
        (("mine", "--kind", "methd"), "'methd' is none of generators, methods"),
        (("mine",), "--kind is missing"),
    ],
)
def test_what_cant_be_made_is_an_error(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["new-plugin", *words])
    assert done.exit_code == 2 and said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    done = CliRunner().invoke(
        main, ["new-plugin", "mine", "--kind", "loss", "--out", str(tmp_path)]
    )
    assert done.exit_code == 2 and "is there already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
