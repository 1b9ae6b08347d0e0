"""`3dinv batch`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result

from inv3d.batch.run import Outcome
from inv3d.cli import main
from inv3d.core.errors import RunError
from inv3d.core.lock import locked
from inv3d.rundir.batch import read_rows, run_of
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.batch.toy_batch import write_captures
from tests.blank_plots import blank_plots
from tests.commands.run_case import imports_nothing_heavy
from tests.commands.run_cli import fails, record, registered, run
from tests.plugins.methods.encoder_trainings import Training

QUICK = (
    *("--generator", "toy", "--method", "wplus", "--set", "latent.steps=4"),
    *("--set", "latent.samples=50", "--no-report"),
)


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "heads"
    write_captures(folder, 3)
    return folder


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    yield from registered(monkeypatch)


def batch(*arguments: object) -> Result:
    """Call `3dinv batch -o out` with the work done in this process."""
    words = ["batch", "-o", "out", "--executor", "here", "--threads", "1", *map(str, arguments)]
    with blank_plots():
        return CliRunner().invoke(main, words)


def events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_it_starts_without_torch() -> None:
    assert imports_nothing_heavy("inv3d.commands.batch")


def test_every_item_becomes_the_run_that_it_would_be_alone(captures: Path) -> None:
    first = batch(captures, *QUICK)
    assert first.exit_code == 0, first.stderr
    assert "3 of 3 items done (0 before), 0 failed" in first.stdout
    alone = run("--input", captures / "head1", *QUICK[2:], "--out", "alone")
    assert alone.exit_code == 0, alone.stderr
    name = "inversion.safetensors"
    assert (run_of(Path("out"), "head1") / name).read_bytes() == Path("alone", name).read_bytes()
    assert Path("out/summary.html").is_file() and not Path("out/.lock").exists()
    again = batch(captures, *QUICK, "--json")
    assert events(again) == [{"event": "begin", "items": 3, "done": 3}]


def test_a_second_start_does_what_is_left_and_only_that(captures: Path) -> None:
    batch(captures, *QUICK)
    out = Path("out")
    shutil.rmtree(run_of(out, "head0"))
    (run_of(out, "head1") / "run.json").write_text(
        json.dumps({**record(run_of(out, "head1")), "status": "interrupted"})
    )
    untouched = (run_of(out, "head2") / "run.json").stat().st_mtime_ns
    found = events(batch(captures, *QUICK, "--json"))
    assert found[0] == {"event": "begin", "items": 3, "new": 1, "stopped": 1, "done": 1}
    ended = [(one["item"], one["resumed"]) for one in found if one["event"] == "ended"]
    assert ended == [("head1", True), ("head0", False)]
    assert (run_of(out, "head2") / "run.json").stat().st_mtime_ns == untouched


def test_an_encoder_takes_several_items_at_once(captures: Path) -> None:
    Training("psp", ToyGenerator(ToyConfig()), lr=1e-3).steps(1).save(Path("psp"))
    words = ("--generator", "toy", "--method", "psp", "--set", "weights=psp", "--no-report")
    found = events(batch(captures, *words, "--at-once", "2", "--json"))
    ended = [one for one in found if one["event"] == "ended"]
    assert [(one["item"], one["status"]) for one in ended] == [
        (f"head{i}", "done") for i in range(3)
    ]
    assert all(one["a_second"] > 0 for one in ended)
    together = [record(run_of(Path("out"), f"head{i}"))["batch"].get("together") for i in range(3)]
    assert together == [2, 2, None]
    assert "items a" in Path("out/summary.html").read_text()
    again = batch(captures, *words)
    assert "3 of 3 items done (3 before), 0 failed" in again.stdout
    refused = batch(captures, *QUICK, "--at-once", "2")
    fails(refused, 2, "--at-once 2: method wplus takes steps, and inverts one item after the other")
    assert "dualencoder, e4e, psp, triplanenet" in refused.stderr
    refused = batch(captures, *words, "--pack", "2")
    fails(refused, 2, "--pack 2: method psp takes no steps that could be shared; give --at-once 2")


def test_items_of_a_method_with_steps_are_packed(captures: Path) -> None:
    found = events(batch(captures, *QUICK, "--no-report", "--pack", "2", "--json"))
    begun = [one["item"] for one in found if one["event"] == "began"]
    ended = [(one["item"], one["status"]) for one in found if one["event"] == "ended"]
    assert begun == ["head0", "head1", "head2"]
    assert sorted(ended) == [(name, "done") for name in begun]
    together = [record(run_of(Path("out"), name))["batch"].get("together") for name in begun]
    assert together == [2, 2, None]
    again = batch(captures, *QUICK, "--no-report", "--pack", "3")
    assert "3 of 3 items done (3 before), 0 failed" in again.stdout


def test_other_options_are_refused_until_overwrite_is_said(captures: Path) -> None:
    batch(captures, *QUICK)
    other = batch(captures, *QUICK, "--seed", "4")
    fails(other, 2, "3 of 3 items were made otherwise (head0: seed was 303, and is 4 now); give")
    assert record(run_of(Path("out"), "head0"))["seed"] == 303
    assert batch(captures, *QUICK, "--seed", "4", "--overwrite").exit_code == 0
    assert record(run_of(Path("out"), "head0"))["seed"] == 4


def test_a_corrupt_item_among_others_is_a_row(captures: Path, tmp_path: Path) -> None:
    shutil.copytree(captures, tmp_path / "some")
    (tmp_path / "some/head1/dataset.json").write_text("{}")
    result = batch("some", *QUICK)
    fails(result, 1, "1 of 3 items failed; out/summary.html and out/batch.jsonl say why")
    row = read_rows(Path("out"))["head1"]
    assert (row.status, row.attempts) == ("failed", 1) and "dataset.json" in row.error
    page = Path("out/summary.html").read_text()
    assert "1 × " in page and "dataset.json" in page
    shutil.copy(captures / "head1/dataset.json", "some/head1/dataset.json")
    mended = batch("some", *QUICK)
    assert mended.exit_code == 0 and "3 of 3 items done (2 before), 0 failed" in mended.stdout
    assert "What failed" not in Path("out/summary.html").read_text()


def test_captures_that_are_gone_keep_no_other_from_its_end(captures: Path, tmp_path: Path) -> None:
    shutil.copytree(captures, tmp_path / "some")
    Path("list.txt").write_text("some/head0\nsome/head1\nsome/head2\nsome/new\n")
    batch("list.txt", *QUICK)
    shutil.rmtree(run_of(Path("out"), "head2"))
    stopped = run_of(Path("out"), "head1") / "run.json"
    stopped.write_text(json.dumps({**record(stopped.parent), "status": "interrupted"}))
    for name in ("head0", "head1"):
        shutil.rmtree(tmp_path / "some" / name)
    result = batch("list.txt", *QUICK)
    fails(result, 1, "2 of 4 items failed")
    assert "note: 1 of 4 items are done and have lost their capture (head0: " in result.stderr
    rows = read_rows(Path("out"))
    assert {name: row.status for name, row in rows.items()} == {
        **{"head0": "done", "head1": "failed", "head2": "done", "new": "failed"}
    }
    for name in ("head1", "new"):
        gone = f"{tmp_path / 'some' / name}: isn't there; put it back, or take it off the list"
        assert rows[name].error == gone
    shutil.copytree(captures / "head1", tmp_path / "some/head1")
    assert "3 of 4 items done (2 before), 1 failed" in batch("list.txt", *QUICK).stdout


@pytest.mark.parametrize(
    ("policy", "code"), [("any", 1), ("none", 0), ("50%", 0), ("49.9%", 1), ("100%", 0)]
)
def test_how_many_may_fail_is_the_users_to_say(tmp_path: Path, policy: str, code: int) -> None:
    write_captures(tmp_path / "some", 1)
    (tmp_path / "some/empty").mkdir()
    assert batch("some", *QUICK, "--fail", policy).exit_code == code


def test_one_driver_a_batch(captures: Path) -> None:
    Path("out").mkdir()
    with locked(Path("out/.lock"), wait=False):
        fails(batch(captures, *QUICK), 1, "is working on this batch; wait for it, or stop it first")
    assert batch(captures, *QUICK).exit_code == 0


def test_a_pipeline_is_for_methods_without_steps(
    captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inv3d.plugins.executors.here.Here.whole", True)
    said = "--executor here: is for methods without steps; take another one, such as local or ray"
    fails(batch(captures, *QUICK), 2, said)


def test_an_executor_is_looked_up_before_there_is_work(captures: Path) -> None:
    assert batch(captures, *QUICK).exit_code == 0
    result = batch(captures, *QUICK, "--executor", "her")
    fails(result, 2, "--executor her: no plugin offers it; did you mean 'here'?")


def test_shares_are_counted_exactly() -> None:
    from inv3d.commands.batch import _conclude, _fail

    context, parameter = click.Context(main), click.Option(["--fail"])
    shares = {text: _fail(context, parameter, text) for text in ("0%", "29%", "58%", "100%")}
    for text, share in shares.items():
        allowed = int(text.removesuffix("%"))
        _conclude(Outcome({"new": 100}, 100 - allowed, allowed), Path("out"), share, True)
        if allowed < 100:
            with pytest.raises(RunError, match=f"{allowed + 1} of 100 items failed"):
                one_more = Outcome({"new": 100}, 99 - allowed, allowed + 1)
                _conclude(one_more, Path("out"), share, True)
    for text in ("150%", "-1%", "5", "nan%", "%", "", "abc"):
        with pytest.raises(click.BadParameter, match="is none of 'any', 'none' and a number"):
            _fail(context, parameter, text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", *QUICK), "CAPTURES nowhere: no such folder, list or zip"),
        (("heads", *QUICK, "--fail", "some"), "'some' is none of 'any', 'none' and a number"),
        (
            ("heads", *QUICK, "--item-timeout", "nan"),
            "'--item-timeout': nan isn't a finite number",
        ),
        (
            ("heads", *QUICK, "--item-timeout", "inf"),
            "'--item-timeout': inf isn't a finite number",
        ),
        (("heads", "--method", "wplis"), "unknown method 'wplis'; did you mean 'wplus'?"),
        (("heads", *QUICK, "--set", "latent.stepz=1"), "unknown option 'latent.stepz' of method"),
        (("heads", *QUICK, "--executor", "slurm"), "--executor slurm: no plugin offers it"),
        (("heads", *QUICK, "--workers", "2"), "--workers 2: executor here has one"),
        (("heads", *QUICK, "--weights", "no.pt"), "no.pt"),
    ],
)
def test_mistakes_are_one_line_before_anything_starts(
    captures: Path, arguments: tuple[str, ...], said: str
) -> None:
    Path("heads").symlink_to(captures)
    result = batch(*arguments)
    assert result.exit_code in (1, 2)
    fails(result, result.exit_code, said)
    assert not list(Path("out").glob("runs/*"))


def test_batches_are_compared_by_item(captures: Path) -> None:
    batch(captures, *QUICK)
    shutil.copytree("out", "first")
    batch(captures, *QUICK, "--seed", "4", "--overwrite")
    shutil.rmtree(run_of(Path("out"), "head2"))
    result = CliRunner().invoke(main, ["compare", "first", "out", "--json", "--html", "page.html"])
    assert result.exit_code == 0, result.stderr
    assert "first: 1 of 3 items aren't finished in all batches" in result.stderr
    rows = {row["metric"]: row for row in json.loads(result.stdout)}
    values = [
        [json.loads((run_of(Path(out), item) / "metrics.json").read_text()) for item in names]
        for out, names in (("first", ("head0", "head1")), ("out", ("head0", "head1")))
    ]
    psnr = [[metrics["held_out"]["psnr"] for metrics in some] for some in values]
    differences = [b - a for a, b in zip(*psnr, strict=True)]
    assert rows["psnr"]["items"] == 2
    assert rows["psnr"]["difference_mean"] == pytest.approx(sum(differences) / 2)
    assert rows["psnr"]["other_better"] == sum(d > 0 for d in differences) / 2
    assert "2 batches" in Path("page.html").read_text()
    table = CliRunner().invoke(main, ["compare", "first", "out"])
    assert "out (wplus) against first (wplus)" in table.stdout and "PSNR" in table.stdout


def test_what_isnt_to_be_compared_is_said(captures: Path) -> None:
    batch(captures, *QUICK)

    def compare(*words: str) -> Result:
        return CliRunner().invoke(main, ["compare", *words])

    fails(compare("out"), 2, "a single batch; its page is summary.html")
    fails(compare("out", "out/runs/head0"), 2, "is a run and out a batch; give one kind")
    fails(compare("out", "out", "--picture", "a.png"), 2, "--picture is for runs")
    Path("none/runs").mkdir(parents=True)
    fails(compare("out", "none"), 1, "none: no item of this batch is finished")


def test_options_of_a_run_are_those_of_a_batch() -> None:
    from inv3d.commands.batch import command
    from inv3d.commands.run import command as single

    mine = {parameter.name for parameter in command.params}
    of_run = {parameter.name for parameter in single.params}
    assert of_run - mine == {"input", "resume"}
