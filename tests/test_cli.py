"""The group: help without heavy imports, one-line errors, exit codes."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from inv3d import __version__, cli
from inv3d.cli import COMMANDS, main
from inv3d.commands.output import print_table
from inv3d.core.errors import InputError, InterruptedRun, Note, RunError
from inv3d.core.files import atomic_write

HEAVY = ("torch", "numpy", "matplotlib", "trimesh", "av", "skimage", "lpips", "PIL", "pydantic")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["list-plugins"], ["list-plugins", "--json"],
     *([name, "--help"] for name in COMMANDS)],
)  # fmt: skip
def test_what_computes_nothing_imports_little_and_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from inv3d.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], len(sys.modules), "
        "file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    heavy, _, count = done.stderr.rpartition(" ")
    assert heavy == "[]"
    assert done.returncode == 0
    # numpy alone has more than a hundred; the standard library's are half of what there is
    assert int(count) < 320


def test_help_lists_every_command() -> None:
    text = CliRunner().invoke(main, []).stdout
    assert text.startswith("Usage: main [OPTIONS] COMMAND [ARGS]...")
    words = " ".join(text.split())  # lines break elsewhere where plugins add long names
    for name, (_, summary) in COMMANDS.items():
        assert f" {name} {summary}" in words
    assert CliRunner().invoke(main, ["-h"]).stdout == text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_static_table_is_right(name: str) -> None:
    module, _, function = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), function)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"3dinv, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rnu"], "no such command 'rnu'; did you mean 'run'?; see 'main --help'"),
        (["--oops"], "no such option '--oops'; see 'main --help'"),
        (["run", "--views", "0"],
         "invalid value for '--views': 0 is not in the range x>=1; see 'main run --help'"),
        (["run", "--views", "many"],
         "invalid value for '--views': 'many' is not a valid integer range; see 'main run --help'"),
        (["run", "--hold-out", "-1"],
         "invalid value for '--hold-out': '-1' is none of 'all', 'none' and a whole number; see "
         "'main run --help'"),
        (["info"], "missing argument 'PLUGIN'; see 'main info --help'"),
        (["list-plugins", "--kind", "lss"],
         "invalid value for '--kind': 'lss' is none of generators, methods, losses, editors, "
         "estimators, hooks; see 'main list-plugins --help'"),
    ],
)  # fmt: skip
def test_wrong_command_lines_are_one_line(arguments: list[str], line: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"error: {line}\n"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[list[BaseException]]:
    """A command `fail` that raises what is put into the list."""
    errors: list[BaseException] = []

    @click.command("fail")
    def command() -> None:
        raise errors[0]

    monkeypatch.setattr(cli, "_plugin_commands", lambda: {"fail": command})
    return errors


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a.png: broken"), 2, "error: a.png: broken"),
        (RunError("x: full\nof lines"), 1, "error: x: full of lines"),
        (InterruptedRun("stopped; continue"), 130, "error: stopped; continue"),
        (ValueError("oops"), 1,
         "error: ValueError: oops (this is a bug; run with --debug and report it)"),
        (OSError(36, "File name too long", "x" * 300), 1,
         f"error: {'x' * 300}: file name too long; choose another path"),
        (OSError(28, "No space left on device"), 1,
         "error: stdout can't be written (no space left on device); send it elsewhere"),
        (KeyboardInterrupt(), 130, "error: stopped"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_an_exit_code(
    failing: list[BaseException], error: BaseException, code: int, line: str
) -> None:
    failing.append(error)
    result = CliRunner().invoke(main, ["fail"])
    assert result.exit_code == code
    assert [text for text in result.stderr.splitlines() if text] == [line]


def test_sigterm_leaves_nothing_half_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a scheduler stops what takes too long."""

    @click.command("slow")
    def command() -> None:
        with atomic_write(tmp_path / "made.mp4") as temporary:
            temporary.write_bytes(b"half")
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cli, "_plugin_commands", lambda: {"slow": command})
    before = signal.getsignal(signal.SIGTERM)
    result = CliRunner().invoke(main, ["slow"])
    assert (result.exit_code, result.stderr.split("\n")[-2]) == (130, "error: stopped")
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(signal.SIGTERM) is before


def test_debug_shows_the_traceback_too(failing: list[BaseException]) -> None:
    failing.append(RunError("no run"))
    result = CliRunner().invoke(main, ["--debug", "fail"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("error: no run\n")


def test_the_result_of_a_plugins_command_is_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    command = click.Command("fine", callback=lambda: "some value")
    monkeypatch.setattr(cli, "_plugin_commands", lambda: {"fine": command})
    result = CliRunner().invoke(main, ["fine"])
    assert (result.exit_code, result.output) == (0, "")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = f"{sys.executable} -m inv3d list-plugins --json | head -c 1"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "["


def test_a_wrong_environment_variable_is_said_and_help_still_works() -> None:
    for arguments, status in ((["--help"], 0), (["list-plugins"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "inv3d", *arguments],
            env={"INV3D_PLUGINS": "oops"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert "INV3D_PLUGINS: 'oops': expected KIND:NAME=MODULE:CLASS" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_what_is_nothing_to_put_right_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    for category, said in ((Note, "note: so\n"), (UserWarning, "warning: so\n")):
        cli._show_warning("so", category)
        assert capsys.readouterr().err == said


def test_names_in_files_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "net\x1b]0;mine\x07\x1b[2J.pkl"
    with pytest.raises(SystemExit):
        cli._fail(f"{evil}: damaged\nor worse")
    assert capsys.readouterr().err == "error: net]0;mine[2J.pkl: damaged or worse\n"
    cli._show_warning(evil, UserWarning)
    assert "\x1b" not in capsys.readouterr().err
    print_table(["file"], [[evil]])
    found = capsys.readouterr().out
    assert "mine" in found and not {"\x1b", "\x07"} & set(found)
