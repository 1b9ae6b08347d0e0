"""A result that is saved stays, whatever happens to its report; methods that take no steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from inv3d.cli import main
from inv3d.core.fit.context import Context
from inv3d.core.inversion import Inversion
from inv3d.rundir.files import CHECKPOINT
from inv3d.rundir.lock import held
from tests.commands.run_cli import (
    QUICK,
    fails,
    record,
    registered,
    resume,
    run,
    write_capture,
)
from tests.runs.plugins import ARTIST, EMPTY, FLAT, INSTANT, Instant

RESULT = "inversion.safetensors"
STEPLESS = ("--method", "instant", "--no-report")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("toy") / "capture")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    yield from registered(monkeypatch, INSTANT, ARTIST, EMPTY, FLAT)


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


def broken(error: BaseException) -> Any:
    """Something that raises."""

    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_method_without_steps(capture: Path, tmp_path: Path) -> None:
    result = run("--input", capture, *STEPLESS, "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert names(tmp_path / "run") == {
        *("run.json", RESULT, "metrics.json", "report.html", "steps.jsonl"),
    }
    assert (tmp_path / "run" / "steps.jsonl").read_bytes() == b""
    found = record(tmp_path / "run")
    assert found["status"] == "finished"
    assert set(found["seconds"]) == {"inversion", "metrics"}


@pytest.mark.parametrize("method", [("--method", "instant"), QUICK])
def test_overwriting_leaves_nothing_of_the_old_run(
    capture: Path, tmp_path: Path, method: tuple[str, ...]
) -> None:
    arguments = ("--input", capture, *method, "--no-report", "--out", "run")
    for _ in range(2):
        assert run(*arguments, "--overwrite").exit_code == 0
    assert names(tmp_path) == {"run"}


@pytest.mark.parametrize("method", [("--method", "instant"), QUICK])
@pytest.mark.parametrize(
    "place", ["report.metrics.compare_images", "runs.finish.render_page", "runs.finish.evaluate"]
)
def test_a_report_that_fails_takes_nothing_away(
    capture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: tuple[str, ...],
    place: str,
) -> None:
    arguments = ("--input", capture, *method, "--no-report")
    assert run(*arguments, "--out", "whole").exit_code == 0
    assert run(*arguments, "--out", "run").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(f"inv3d.{place}", broken(RuntimeError("no colours\nleft")))
        result = run(*arguments, "--out", "run", "--overwrite")
    reason = "RuntimeError: no colours"
    said = f"run: the result is safe, but it has no report ({reason}); make it with '3dinv eval "
    fails(result, 1, f"{tmp_path / said}{tmp_path / 'run'} --save'")
    assert names(tmp_path) == {"whole", "run"}
    found = record(tmp_path / "run")
    assert (found["status"], found["error"]) == ("unreported", reason)
    whole, saved = (tmp_path / name / RESULT for name in ("whole", "run"))
    assert saved.read_bytes() == whole.read_bytes()


@pytest.fixture
def unreported(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of six steps whose report failed."""
    with monkeypatch.context() as patch:
        patch.setattr("inv3d.runs.finish.render_page", broken(RuntimeError("no colours")))
        run("--input", capture, *QUICK, "--no-report", "--out", "run")
    assert record(tmp_path / "run")["status"] == "unreported"
    return tmp_path / "run"


def test_eval_makes_the_report_again(unreported: Path, capture: Path, tmp_path: Path) -> None:
    assert (unreported / CHECKPOINT).exists()
    before = (unreported / RESULT).read_bytes()
    assert evaluate(unreported).exit_code == 0
    assert record(unreported)["status"] == "unreported"
    result = evaluate(unreported, "--save", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "Held-out" in result.stdout
    assert "writing the report" in result.stderr
    found = record(unreported)
    assert found["status"] == "finished"
    assert "error" not in found
    assert set(found["seconds"]) == {"latent", "metrics"}
    assert (unreported / RESULT).read_bytes() == before
    assert not (unreported / CHECKPOINT).exists()
    assert "no colours" not in (unreported / "report.html").read_text()
    run("--input", capture, *QUICK, "--no-report", "--out", "whole")
    made, expected = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("run", "whole")
    )
    assert made["per_frame"] == expected["per_frame"]
    assert names(unreported) == names(tmp_path / "whole")


def test_a_report_that_fails_again_is_said_again(
    unreported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("inv3d.runs.finish.render_page", broken(MemoryError("full")))
        fails(evaluate(unreported, "--save"), 1, "the result is safe, but it has no report (Memory")
    assert record(unreported)["error"] == "MemoryError: full"
    assert evaluate(unreported, "--save").exit_code == 0


def test_a_run_killed_while_its_report_was_made_gets_it(unreported: Path) -> None:
    killed = {k: v for k, v in record(unreported).items() if k not in ("error", "seconds")}
    (unreported / "run.json").write_text(json.dumps(killed | {"status": "running"}))
    with held(unreported):
        fails(evaluate(unreported, "--save"), 1, "is writing this run; wait for it")
    assert evaluate(unreported, "--save").exit_code == 0
    assert set(record(unreported)["seconds"]) == {"latent", "metrics"}


def test_resuming_makes_the_report_too(unreported: Path) -> None:
    before = (unreported / RESULT).read_bytes()
    resumed = resume(unreported)
    assert resumed.exit_code == 0, resumed.stderr
    assert record(unreported)["status"] == "finished"
    assert (unreported / RESULT).read_bytes() == before


@pytest.mark.parametrize("method", [("--method", "instant"), QUICK])
def test_a_stop_while_the_report_is_made(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: tuple[str, ...]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("inv3d.runs.finish.render_page", broken(KeyboardInterrupt()))
        result = run("--input", capture, *method, "--no-report", "--out", "run")
    fails(result, 130, "run: the result is safe, but it has no report (stopped); make it with")
    assert record(tmp_path / "run")["status"] == "unreported"
    assert Inversion.load(tmp_path / "run")
    assert evaluate("run", "--save").exit_code == 0


def test_a_method_without_steps_that_was_asked_to_stop_has_no_report(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Instant.steps

    def stopped(self: Instant, generator: Any, views: Any, context: Context) -> Any:
        context.state.stop_requested = True
        return (yield from whole(self, generator, views, context))

    monkeypatch.setattr(Instant, "steps", stopped)
    result = run("--input", capture, *STEPLESS, "--out", "run")
    fails(result, 130, "the result is safe, but it has no report (stopped)")
    assert Inversion.load(tmp_path / "run")


def test_a_method_that_fails_before_its_result_puts_the_old_run_back(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--input", capture, *STEPLESS, "--out", "run", "--overwrite")
    assert run(*arguments).exit_code == 0
    before = (tmp_path / "run" / "run.json").read_bytes()
    for error in (RuntimeError("no idea"), KeyboardInterrupt()):
        with monkeypatch.context() as patch:
            patch.setattr(Instant, "steps", broken(error))
            assert run(*arguments).exit_code != 0
        assert (tmp_path / "run" / "run.json").read_bytes() == before
        assert names(tmp_path) == {"run"}


def test_any_error_after_a_step_is_kept_in_the_record(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("inv3d.core.inversion.Inversion.save", broken(RuntimeError("no disk")))
        result = run("--input", capture, *QUICK, "--no-report", "--out", "run")
    assert result.exit_code == 1
    found = record(tmp_path / "run")
    assert (found["status"], found["error"]) == ("failed", "RuntimeError: no disk")
    assert resume("run").exit_code == 0
    assert "error" not in record(tmp_path / "run")


def test_a_method_that_returns_nothing_is_named(capture: Path, tmp_path: Path) -> None:
    result = run("--input", capture, "--method", "empty", "--out", "run")
    fails(result, 1, "method empty: its steps returned a NoneType, expected an Inversion")
    assert names(tmp_path) == set()


def test_a_generator_without_depth(tmp_path: Path, capture: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for file in capture.glob("*.png"):
        (plain / file.name).write_bytes(file.read_bytes())
    (plain / "dataset.json").write_bytes((capture / "dataset.json").read_bytes())
    result = run("--generator", "flat", "--input", plain, "--method", "artist", "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert "warning: no mesh: generator flat has no density to sample" in result.stdout
    out = tmp_path / "run"
    assert names(out) >= {"report.html", "orbit.mp4", "metrics.json"}
    assert not (out / "mesh.glb").exists()
    assert {"novel_views.png", "targets_vs_reconstructions.png"} <= names(out / "previews")
    assert (out / "report.html").read_text().count('alt="depth, ') == 0
    depth = CliRunner().invoke(main, ["render", "run", "-o", "a.png", "--depth"])
    fails(depth, 2, "--depth: needs the output 'depth', but generator flat makes only image, raw")
    fails(CliRunner().invoke(main, ["export", "run", "-o", "a.ply"]), 2, "no density to sample")


def test_pictures_of_the_method(capture: Path, tmp_path: Path) -> None:
    arguments = ("--input", capture, "--method", "artist")
    assert run(*arguments, "--out", "run").exit_code == 0
    previews, page = tmp_path / "run" / "previews", (tmp_path / "run" / "report.html").read_text()
    assert names(previews) >= {
        *("depth.png", "depth_2.png", "where_it_looked.png", "where_it_looked_2.png"),
    }
    with Image.open(previews / "where_it_looked.png") as picture:
        assert picture.size == (8 + 4 + 8, 8)
    assert page.count("Where it looked") >= 1
    assert "first &lt;view&gt;" in page
    assert run(*arguments, "--out", "other", "--no-report").exit_code == 0
    assert not (tmp_path / "other" / "previews").exists()
