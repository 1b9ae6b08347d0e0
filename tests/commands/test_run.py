"""`3dinv run` from a capture to a report, and every way in which it can't begin."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.commands.eval import command as eval_command
from inv3d.core.inversion import Inversion
from inv3d.core.registry.hookspecs import hookimpl
from inv3d.core.weights.known import WeightFile
from inv3d.core.weights.tensors import write_tensors
from inv3d.io import dataset
from inv3d.rundir.log import read_log
from inv3d.testing.toy import ToyGenerator
from tests.captures import content, write
from tests.commands.run_case import answer
from tests.commands.run_cli import (
    QUICK,
    WHOLE,
    fails,
    record,
    registered,
    resume,
    run,
    write_capture,
)

FILES = {
    "run.json",
    "inversion.safetensors",
    "metrics.json",
    "steps.jsonl",
    "report.html",
    "previews",
    "orbit.mp4",
    "mesh.glb",
}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("toy") / "capture")


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    yield from registered(monkeypatch)


@pytest.mark.slow
def test_a_whole_run(capture: Path, tmp_path: Path) -> None:
    result = run("--input", capture, *WHOLE, "--out", "run", "--seed", "7", plots=True)
    assert result.exit_code == 0, result.stderr
    out = tmp_path / "run"
    assert {path.name for path in out.iterdir()} == FILES
    found = record(out)
    assert found["status"] == "finished"
    assert found["seed"] == 7
    assert found["method"]["name"] == "multilatent"
    assert found["method"]["options"]["latent"]["steps"] == 12
    assert found["method"]["licence"] == "Apache-2.0"
    assert found["generator"]["distribution"] == "INV3D_PLUGINS"
    assert found["input"]["path"] == str(capture)
    assert found["input"]["chosen"] == [0, 2, 4, 6, 8]
    assert found["input"]["held_out"] == [1, 3, 5, 7]
    assert {"3dinv", "python", "torch"} <= set(found["versions"])
    rows = read_log(out / "steps.jsonl")
    assert list(dict.fromkeys(row["stage"] for row in rows)) == ["start/latent", "latent", "tuning"]
    assert len(rows) == 8 + 12 + 12
    assert set(found["seconds"]) >= {"start/latent", "latent", "tuning"}
    assert len(Inversion.load(out).ws) == 3
    assert "Held-out frames" in result.stdout
    assert f"report: {out / 'report.html'}" in result.stdout
    assert "latent 12/12  loss " in result.stderr
    assert "latent 12/12" not in result.stdout


def test_json_is_all_there_is_on_stdout(capture: Path) -> None:
    result = run("--input", capture, *QUICK, "--out", "run", "--no-report", "--json")
    found = json.loads(result.stdout)
    assert found["directory"].endswith("/run")
    assert found["run"]["status"] == "finished"
    assert found["metrics"]["views"] == {"all": 9, "chosen": 1, "held_out": 8}


def test_the_default_directory_is_named_after_method_and_time(
    capture: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert run("--input", capture, *QUICK, "--no-report").exit_code == 0
    names = [path.name for path in (tmp_path / "runs").iterdir()]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"wplus-\d{8}-\d{6}(-2)?", name) for name in names)


def test_presets_files_and_settings_win_in_this_order(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "latent.steps = 5\nlatent.lr = 0.02\n[generator]\nseed = 3\n[losses]\nmse = 0.5\n"
    )
    result = run(
        *("--input", capture, "--method", "wplus", "--out", "run", "--no-report"),
        *("--preset", "fast", "--config", "c.toml", "--set", "latent.steps=4"),
        *("--set", "losses.l1=0.25", "--set", "losses.mse.weight=0.75"),
    )
    assert result.exit_code == 0, result.stderr
    found = record(tmp_path / "run")
    options = found["method"]["options"]
    assert options["latent"]["steps"] == 4, "--set over --config"
    assert options["latent"]["lr"] == 0.02, "--config over the default"
    assert options["latent"]["samples"] == 2000, "the preset over the default"
    assert options["losses"]["mse"]["weight"] == 0.75
    assert options["losses"]["l1"]["weight"] == 0.25
    assert found["method"]["preset"] == "fast"
    assert found["generator"]["options"]["seed"] == 3


@pytest.mark.parametrize(
    ("options", "chosen", "held_out"),
    [
        (["--views", "3", "--select", "index"], ["view000", "view004", "view008"], 6),
        (["--views", "2", "--hold-out", "none"], ["view000", "view008"], 0),
        (["--views", "2", "--hold-out", "3"], ["view000", "view008"], 3),
        (["--select", "all"], [f"view{i:03d}" for i in range(9)], 0),
        ([], ["view004"], 8),
    ],
)
def test_views_are_chosen_and_held_out(
    capture: Path, tmp_path: Path, options: list[str], chosen: list[str], held_out: int
) -> None:
    given = (*QUICK, "--set", "views=all", "--out", "run", "--no-report", *options)
    assert run("--input", capture, *given).exit_code == 0
    found = record(tmp_path / "run")["input"]
    assert [found["views"][i] for i in found["chosen"]] == [f"{name}.png" for name in chosen]
    assert len(found["held_out"]) == held_out
    assert len(found["views"]) == len(chosen) + held_out


def test_the_same_seed_gives_the_same_result(capture: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("--input", capture, *QUICK, "--out", name, "--no-report", "--seed", seed)
    a, b, c = ((tmp_path / n / "inversion.safetensors").read_bytes() for n in "abc")
    assert a == b
    assert a != c


def test_a_run_starts_from_another(capture: Path, tmp_path: Path) -> None:
    run("--input", capture, *QUICK, "--out", "a", "--no-report")
    arguments = ("--input", capture, *QUICK, "--no-report", "--init", "a")
    assert run(*arguments, "--out", "b").exit_code == 0
    assert record(tmp_path / "b")["init"]["path"] == str(tmp_path / "a")
    first = read_log(tmp_path / "b" / "steps.jsonl")[0]["losses"]["mse"]
    assert first < read_log(tmp_path / "a" / "steps.jsonl")[0]["losses"]["mse"]
    fails(run(*arguments, "--out", "c", "--set", "generator.seed=5"), 1, "fingerprint")
    (tmp_path / "link").symlink_to("a")
    fails(run(*arguments, "--out", "link", "--overwrite"), 2, "is what --init names, which stays")
    fails(run(*QUICK, "--input", capture, "--init", "nowhere"), 1, "no inversion.safetensors")


def test_notices_of_the_input_are_shown_and_kept(tmp_path: Path) -> None:
    write(content(3, size=16), tmp_path / "small")
    result = run("--input", "small", *QUICK, "--out", "run", "--no-report", "--json")
    assert "warning: small/view0.png: 16 pixels, enlarged to 32" in result.stderr
    found = json.loads(result.stdout)
    assert "enlarged to 32" in found["run"]["warnings"][0]
    assert found["run"]["warnings"][0] in found["metrics"]["warnings"]


# what can't begin: (arguments after the input, exit code, what's said)
UNUSABLE: dict[str, tuple[list[str], int, str]] = {
    "unknown method": (["--method", "wplsu"], 2, "unknown method 'wplsu'; did you mean 'wplus'?"),
    "unknown generator": (["--generator", "toi"], 2, "unknown generator 'toi'; did you mean 'toy'"),
    "unknown option": (
        ["--set", "latent.step=3"],
        2,
        "unknown option 'latent.step' of method wplus; did you mean 'steps'?",
    ),
    "wrong value": (["--set", "latent.steps=many"], 2, "'latent.steps' of method wplus: 'many' is"),
    "value out of range": (["--set", "latent.lr=-1"], 2, "should be greater than 0"),
    "unknown generator option": (
        ["--set", "generator.sed=3"],
        2,
        "unknown option 'sed' of generator toy; did you mean 'seed'?",
    ),
    "no value": (["--set", "latent.steps"], 2, "--set 'latent.steps': expected NAME=VALUE"),
    "unknown loss": (["--set", "losses.mes=1"], 2, "unknown loss 'mes'; did you mean 'mse'?"),
    "unknown option of a loss": (["--set", "losses.lpips.nett=vgg"], 2, "did you mean 'net'?"),
    "no losses": (
        ["--set", "losses.mse=0", "--set", "losses.l1=0", "--set", "latent.pull=0"],
        2,
        "every weight is 0",
    ),
    "unknown preset": (["--preset", "fats"], 2, "method wplus has no preset 'fats'; did you mean"),
    "missing config": (["--config", "no.toml"], 2, "--config no.toml: can't be read"),
    "too many views": (["--views", "10"], 2, "has only 9 views; give a smaller number"),
    "no such device": (["--device", "cuda:77"], 2, "--device cuda:77: this machine has"),
    "no such input": (["--input", "nowhere"], 2, "--input nowhere: no such folder or zip"),
    "no such sample": (["--input", "sample:x"], 2, "choose sample:dynamic or sample:static"),
    "a file for a folder": (["--out", "file/run"], 1, "file: a file is in the way"),
    "a file in the way": (["--out", "file"], 1, "a file is in the way; choose another --out"),
    "no run to overwrite": (
        ["--out", "photos", "--overwrite"],
        1,
        "--overwrite replaces runs only",
    ),
    "missing weights": (
        ["--generator", "eg3d", "--weights", "no.safetensors"],
        1,
        "no.safetensors: no such file",
    ),
    "corrupt weights": (
        ["--generator", "eg3d", "--weights", "file"],
        1,
        "file: not a weight file",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cant_begin_is_one_line_and_leaves_nothing(
    capture: Path, tmp_path: Path, case: str
) -> None:
    (tmp_path / "file").write_text("x")
    write({"a.txt": b"x"}, tmp_path / "photos")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    arguments, code, said = UNUSABLE[case]
    fails(run("--input", capture, *QUICK, "--no-report", *arguments), code, said)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A weight file that the toy knows, in the folder for weights; it's made for something else."""
    facts = {"purpose": "blobs", "licence": "MIT", "page": "https://example.org"}
    file = WeightFile(name="blobs.pkl", fits=("toy-of-old",), **facts)
    monkeypatch.setattr(ToyGenerator, "weights", (file,))
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "weights"))
    write({"blobs.pkl": b"x"}, tmp_path / "weights")
    return tmp_path / "weights" / "blobs.pkl"


def test_weights_by_name_and_a_generator_that_they_arent_made_for(
    capture: Path, tmp_path: Path, known: Path
) -> None:
    arguments = ("--input", capture, *QUICK, "--no-report", "--weights", "blobs.pkl", "--out")
    result = run(*arguments, "run")
    assert result.exit_code == 0, result.stderr
    found = record(tmp_path / "run")
    assert found["generator"]["weights"] == str(known)
    text = "blobs.pkl is made for toy-of-old, but the generator is toy: expect poor results"
    assert f"warning: {text}" in result.stderr
    assert found["warnings"][0].startswith(text)
    known.unlink()
    fails(run(*arguments, "other"), 1, "generator toy: blobs.pkl (blobs) isn't there; get it from")


def test_weights_of_another_architecture(capture: Path, tmp_path: Path) -> None:
    write_tensors(tmp_path / "w.safetensors", {"weight": torch.ones(2, 2)}, {})
    arguments = ("--generator", "eg3d", "--weights", "w.safetensors")
    fails(run("--input", capture, *QUICK, *arguments), 1, "w.safetensors: ")
    assert not (tmp_path / "runs").exists()


def test_one_view_for_several_latents(capture: Path, tmp_path: Path) -> None:
    result = run("--input", capture, *WHOLE, "--views", "1")
    fails(result, 2, "--views 1: method multilatent needs 2 or more views")
    assert list(tmp_path.iterdir()) == []


def test_two_views_from_one_angle(tmp_path: Path) -> None:
    files = content(5)
    labels = dict(json.loads(files["dataset.json"])["labels"])
    labels["view2.png"] = labels["view1.png"]
    files["dataset.json"] = json.dumps({"labels": labels}).encode()
    write(files, tmp_path / "twice")
    result = run("--input", "twice", *WHOLE, "--select", "all", "--no-report")
    fails(result, 2, "view1.png and view2.png: both look from yaw")
    assert not (tmp_path / "runs").exists()


def test_an_existing_directory_is_kept_unless_told_otherwise(capture: Path, tmp_path: Path) -> None:
    arguments = ("--input", capture, *QUICK, "--out", "run", "--no-report")
    assert run(*arguments).exit_code == 0
    before = (tmp_path / "run" / "run.json").read_bytes()
    fails(run(*arguments), 1, "run: exists already; choose another --out, or give --overwrite")
    fails(run(*arguments, "--overwrite", "--set", "losses.mes=1"), 2, "unknown loss")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    assert run(*arguments, "--overwrite", "--seed", "9").exit_code == 0
    assert record(tmp_path / "run")["seed"] == 9
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture
def limit() -> Iterator[Any]:
    """Let the system refuse to make files larger than a number of bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_is_full_at_the_start(capture: Path, tmp_path: Path, limit: Any) -> None:
    limit(500)
    result = run("--input", capture, *QUICK, "--out", "run", "--no-report")
    limit(-1)
    fails(result, 1, "run: can't be written (File too large)")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_a_run_that_goes_on(
    capture: Path, tmp_path: Path, limit: Any
) -> None:
    arguments = ("--input", capture, *QUICK, "--set", "latent.steps=60", "--no-report")
    assert run(*arguments, "--out", "whole").exit_code == 0
    limit(8000)
    result = run(*arguments, "--out", "run", "--checkpoint-every", "5")
    limit(-1)
    fails(result, 1, "File too large")
    assert record(tmp_path / "run")["status"] == "failed"
    assert resume("run").exit_code == 0
    whole, resumed = (tmp_path / n / "inversion.safetensors" for n in ("whole", "run"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_precision_reaches_the_generator(tmp_path: Path) -> None:
    few = ("--set", "latent.steps=1", "--set", "latent.samples=8", "--hold-out", "none")
    which = ("--generator", "minihead", "--method", "wplus", *few, "--no-report")
    result = run(*which, "--precision", "bf16", "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert record(tmp_path / "run")["generator"]["options"]["precision"] == "bf16"
    fails(run(*which, "--precision", "int8", "--out", "other"), 2, "'int8' is not one of")


def test_no_winograd_reaches_the_generator(tmp_path: Path) -> None:
    few = ("--set", "latent.steps=1", "--set", "latent.samples=8", "--hold-out", "none")
    which = ("--generator", "minihead", "--method", "wplus", *few, "--no-report")
    result = run(*which, "--no-winograd", "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert record(tmp_path / "run")["generator"]["options"]["winograd"] is False


def test_a_loss_that_explodes_stops_the_run(capture: Path, tmp_path: Path) -> None:
    arguments = ("--set", "latent.lr=1e30", "--set", "latent.rampup=0")
    result = run("--input", capture, *QUICK, *arguments, "--out", "run", "--no-report")
    fails(result, 1, "isn't finite")
    found = record(tmp_path / "run")
    assert found["status"] == "failed"
    assert "isn't finite" in found["error"]


def test_hooks_watch_a_run(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    @hookimpl
    def inv3d_run_start(directory: Path, config: dict[str, Any]) -> None:
        calls.append(("start", directory.name, config["seed"]))

    @hookimpl
    def inv3d_run_step(directory: Path, progress: Any) -> None:
        calls.append(("step", progress.step))

    @hookimpl
    def inv3d_run_end(inversion: Inversion, metrics: dict[str, Any]) -> None:
        calls.append(("end", len(inversion.ws), metrics["views"]["all"]))

    @hookimpl(specname="inv3d_run_step")
    def raises(progress: Any) -> None:
        raise RuntimeError("no network")

    good, bad = types.ModuleType("hook_good"), types.ModuleType("hook_bad")
    good.inv3d_run_start, good.inv3d_run_step = inv3d_run_start, inv3d_run_step
    good.inv3d_run_end, bad.inv3d_run_step = inv3d_run_end, raises
    monkeypatch.setitem(sys.modules, "hook_good", good)
    monkeypatch.setitem(sys.modules, "hook_bad", bad)
    for _ in registered(monkeypatch, "hooks:good=hook_good", "hooks:bad=hook_bad"):
        result = run("--input", capture, *QUICK, "--out", "run", "--no-report")
    assert result.exit_code == 0, result.stderr
    assert calls == [("start", "run", 303), *(("step", i) for i in range(6)), ("end", 1, 9)]
    assert result.stderr.count("hooks 'bad' of INV3D_PLUGINS failed in inv3d_run_step") == 1


def test_the_sample_is_what_is_read_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(dataset, "sample_path", lambda name: opened.append(name) or capture)
    assert run(*QUICK, "--out", "run", "--no-report").exit_code == 0
    assert opened == ["dynamic"]
    assert record(tmp_path / "run")["input"]["path"] == "sample:dynamic"


def test_a_metric_of_the_users_goes_into_the_numbers_and_stays_with_the_run(
    tmp_path: Path,
) -> None:
    capture, out = write_capture(tmp_path / "capture"), tmp_path / "run"
    metric = ("--metric", "soft=l1?resolution=8")
    result = run(*QUICK, *metric, "--input", capture, "--out", out, "--no-report")
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["held_out"]["soft"] > 0
    record = json.loads((out / "run.json").read_text())
    assert record["generator"]["metrics"] == {"soft": "l1?resolution=8"}
    again = answer(eval_command, out)
    assert again["held_out"]["soft"] == metrics["held_out"]["soft"]


@pytest.mark.parametrize("streams", ["2>&1", "", "2>&1 >out"])
def test_a_reader_that_leaves_does_not_end_the_run(
    capture: Path, tmp_path: Path, streams: str
) -> None:
    options = ("--generator", "toy", "--input", capture, *QUICK, "--no-report", "--out", "run")
    command = shlex.join([sys.executable, "-m", "inv3d", "run", *map(str, options)])
    subprocess.run(["sh", "-c", f"{command} {streams} | head -c 1"], check=True)
    assert record(tmp_path / "run")["status"] == "finished"
    assert (tmp_path / "run" / "report.html").is_file()


def test_an_unfinished_run_in_the_way_can_be_gone_on_with(capture: Path, tmp_path: Path) -> None:
    arguments = ("--input", capture, *QUICK, "--no-report", "--out", "run")
    assert run(*arguments).exit_code == 0
    for status, said in {
        "interrupted": "go on with it by '3dinv run --resume ",
        "failed": "go on with it by '3dinv run --resume ",
        "unreported": "make it with '3dinv eval ",
        "finished": "run: exists already; choose another --out",
    }.items():
        (tmp_path / "run" / "run.json").write_text(
            json.dumps({**record(tmp_path / "run"), "status": status})
        )
        fails(run(*arguments), 1, said)


def test_a_capture_whose_path_is_not_utf8_is_inverted(capture: Path, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(capture, source)
    result = run("--input", source, *QUICK, "--no-report", "--out", "a", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["run"]["input"]["path"] == str(source)
    assert "caf\\udce9" in (tmp_path / "a" / "report.html").read_text()


def test_a_run_directory_that_is_not_utf8_could_not_be_read(capture: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"caf\xe9")
    arguments = ("--input", capture, *QUICK, "--no-report", "--out", out)
    fails(run(*arguments), 2, "caf\\udce9': isn't UTF-8, so safetensors reads no files there")
    assert not out.exists()


def test_the_record_has_the_losses_that_ran(capture: Path, tmp_path: Path) -> None:
    options = ("--set", "losses.l1.weight=0.25", "--set", "losses.mse=0")
    out = ("--no-report", "--out", "run")
    assert run("--input", capture, *QUICK, *options, *out).exit_code == 0
    assert record(tmp_path / "run")["losses"] == {"w_norm": [1.0], "l1": [0.25]}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "1 × w_norm, 0.25 × l1" in page
    assert page.count("latent.steps") == 1, "options stand once"
    assert "view000.png&#39;" not in page


def test_what_is_not_fitted_is_held_out_in_every_number(capture: Path, tmp_path: Path) -> None:
    steps = ("--set", "latent.steps=2", "--set", "latent.samples=50", "--set", "tuning.steps=1")
    result = run(
        *("--input", capture, "--method", "pti", "--views", "9", *steps),
        *("--no-report", "--out", "run"),
    )
    assert "method pti fits 1 of the 9 views that were chosen" in result.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["views"] == {"all": 9, "chosen": 1, "held_out": 8}
    assert [row["role"] for row in metrics["per_frame"]].count("held out") == 8
    assert "1 of 9 (8 held out)" in (tmp_path / "run" / "report.html").read_text()
