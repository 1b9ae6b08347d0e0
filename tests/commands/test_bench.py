"""`3dinv bench`: what it prints and writes, exit codes, one-line errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from pydantic import TypeAdapter

from inv3d.bench import run as bench_run
from inv3d.bench.cases import Choice
from inv3d.bench.results import Report
from inv3d.bench.ways import STAGES
from inv3d.cli import main
from inv3d.core.registry.discovery import registry
from inv3d.nn.eg3d.generator import TriplaneGenerator
from tests.bench.tiny_case import tiny_case

ROOT = Path(__file__).parents[2]
TOY = "generators:toy=inv3d.testing.toy:ToyGenerator"
QUICK = ("--repeats", "1", "--device", "cpu", "--threads", "1")


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Choice]:
    """Measure a tiny network, and keep what was chosen."""
    asked: list[Choice] = []

    def make(choice: Choice) -> Any:
        asked.append(choice)
        return tiny_case()

    monkeypatch.setattr(bench_run, "make_case", make)
    return asked


def checked(text: str) -> dict[str, Any]:
    """The report in JSON, which has exactly the fields that it should."""
    found: dict[str, Any] = json.loads(text)
    report = TypeAdapter(Report).validate_json(text)
    assert json.loads(TypeAdapter(Report).dump_json(report)) == found
    return found


def test_all_stages_as_tables_and_in_files(chosen: list[Choice], tmp_path: Path) -> None:
    file, plot = tmp_path / "report.json", tmp_path / "bars.png"
    threads = torch.get_num_threads()
    result = bench(
        *QUICK, "--views", "2,1", "--profile", "--no-memory", "--out", file, "--plot", plot
    )
    assert result.exit_code == 0, result.output
    assert torch.get_num_threads() == threads
    assert "DIFFERENT" not in result.stdout and "Turntable" in result.stdout
    assert "Profile of our step, W+, 2 views" in result.stdout
    assert "step tuning in double precision: every gradient is the same" in result.stderr
    assert plot.read_bytes().startswith(b"\x89PNG")
    report = checked(file.read_text())
    assert report["ok"] and report["settings"]["what"] == "all"
    rows = [(row["stage"], row["mode"], row["views"]) for row in report["rows"]]
    of_stages = [
        (stage, mode, views)
        for stage in STAGES
        for mode in ("forward", "w+", "tuning")
        for views in ((1,) if stage == "backbone" else (1, 2))
        if (stage, mode) != ("step", "forward")
    ]
    assert rows == of_stages
    for row in report["rows"]:
        assert row["agrees"] and row["memory"] is None
        assert row["ratio"]["min"] <= row["ratio"]["median"] <= row["ratio"]["max"]
        limit = row["limit"]
        median = row["ours"]["wall"]["median"]
        assert limit["ours"] == pytest.approx(limit["seconds"] / median)
    assert [(e["stage"], e["mode"]) for e in report["exact"]] == [
        ("step", "w+"),
        ("step", "tuning"),
    ]
    assert {(p["mode"], p["way"]) for p in report["profiles"]} == {
        (mode, way) for mode in ("w+", "tuning") for way in ("ours", "reference")
    }
    assert report["turntable"]["frames"] == 12


def test_one_stage_as_json(chosen: list[Choice]) -> None:
    options = ("--no-memory", "--no-exact", "--cpu-time", "--json", "--views", 1)
    result = bench("superres", *QUICK, *options, "--rays", 12, "--chunk", 2, "--losses", "mse,l1")
    assert result.exit_code == 0, result.output
    report = checked(result.stdout)
    assert {row["stage"] for row in report["rows"]} == {"superres"}
    assert all(row["memory"] is None for row in report["rows"])
    assert report["exact"] == report["profiles"] == report["methods"] == []
    assert report["turntable"] is None and report["settings"]["clock"] == "cpu"
    (choice,) = chosen
    assert (choice.size, choice.rays, choice.chunk) == ("mini", 12, 2)
    assert choice.losses == ("mse", "l1") and choice.options == {}


def test_markdown(chosen: list[Choice]) -> None:
    result = bench("backbone", *QUICK, "--table", "--set", "checkpoint=true")
    assert result.exit_code == 0, result.output
    (head,) = [line for line in result.stdout.splitlines() if "| ours MiB |" in line]
    assert head.startswith("| stage | views | ours s |")
    assert re.search(r"^\| backbone tuning \| 9 \| .* \| same \(", result.stdout, re.MULTILINE)
    # a stage alone is compared in double precision too
    assert "| backbone tuning | 2 | same |" in result.stdout
    assert chosen[0].options == {"checkpoint": True}


def test_what_differs_ends_with_exit_code_1(
    chosen: list[Choice], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = TriplaneGenerator.images

    def wrong(self: Any, *given: Any) -> Any:
        return {name: value * 1.01 for name, value in right(self, *given).items()}

    monkeypatch.setattr(TriplaneGenerator, "images", wrong)
    file = tmp_path / "report.json"
    result = bench("superres", *QUICK, "--views", 1, "--no-memory", "--out", file)
    assert result.exit_code == 1
    assert "DIFFERENT" in result.stdout
    (line,) = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert line.startswith(
        "error: ours and the reference differ: superres forward, 1 views; superres w+, 1 views; "
        "superres tuning, 1 views; superres w+ in double; superres tuning in double"
    )
    assert checked(file.read_text())["ok"] is False


def test_numbers_are_shown_where_the_file_cant_be_written(
    chosen: list[Choice], tmp_path: Path
) -> None:
    (tmp_path / "full").write_text("")
    place = tmp_path / "full" / "report.json"
    result = bench("superres", *QUICK, "--views", 1, "--no-memory", "--no-exact", "--out", place)
    assert result.exit_code == 1
    assert "can't be written" in result.stderr
    assert "superres" in result.stdout


def test_methods(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INV3D_PLUGINS", TOY)
    registry.cache_clear()
    from tests.commands.run_cli import write_capture

    capture = write_capture(tmp_path / "capture", 5)
    file, plot = tmp_path / "report.json", tmp_path / "bars.svg"
    short = "latent.steps=3 latent.samples=20"
    monkeypatch.setattr("inv3d.commands.bench._choice", lambda _: Choice("mini", "toy"))
    result = bench(
        *("methods", "--threads", 1, "--input", capture, "--views", 2, "--device", "cpu"),
        *("--run", f"wplus {short}", "--run", "wplus latent.steps=5 latent.samples=20"),
        *("--out", file, "--plot", plot),
    )
    registry.cache_clear()
    assert result.exit_code == 0, result.output
    report = checked(file.read_text())
    first, second = report["methods"]
    assert (first["run"], first["steps"], first["ratio"]) == (f"wplus {short}", 3, 1.0)
    assert second["steps"] == 5
    assert set(first["held_out"]) == {"mse", "perceptual", "identity"}
    assert first["held_out"]["mse"] > 0 and first["held_out"]["identity"] is None
    assert "identity" in first["notes"]
    assert "<svg" in plot.read_text()
    assert f"wplus {short}" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backbnoe"], "'backbnoe' is not one of"),
        (["--size", "huge"], "'huge' is not one of 'full', 'half', 'mini'"),
        (["--views", "0"], "'0' isn't a number from 1, or a list such as 1,3,9"),
        (["--views", "1,x"], "'1,x' isn't a number from 1"),
        (["--threads", "0"], "0 is not in the range x>=1"),
        (["--device", "cuda:99"], "--device cuda:99: this machine has"),
        (["--json", "--table"], "give one of --json and --table"),
        (["--plot", "bars.html"], "--plot bars.html: expected a name that ends in .png"),
        (["--losses", ","], "--losses: no name in it"),
        (["step", "--run", "wplus"], "--run is for '3dinv bench methods'"),
        (["render", "--profile"], "--profile is for step, not for render"),
        (["methods", "--repeats", "2"], "--repeats is for stages, not for '3dinv bench methods'"),
        (["methods", "--size", "full"], "--size full: its weights are random"),
        (["methods", "--views", "1,9"], "--views: methods are compared with one number"),
        (["methods", "--run", "wplus:"], "--run 'wplus:': expected METHOD"),
        (["methods", "--run", "'"], "expected METHOD, or 'METHOD:PRESET NAME=VALUE ...'"),
        (["methods", "--run", "wpuls"], "did you mean 'wplus'"),
        (["methods", "--run", "wplus:x"], "has no preset 'x'"),
        (["methods", "--run", "wplus latent.stepz=1"], "latent.stepz"),
        (["--size", "full", "--generator", "panohead"], "sizes full and half are EG3D's"),
        (["--losses", "msee"], "did you mean 'mse'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str) -> None:
    result = bench(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and said in line, line
    assert result.stdout == ""


def test_every_field_is_documented() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    section = page[page.index("## JSON") : page.index("## Memory of")]
    schema = TypeAdapter(Report).json_schema()
    kinds = [schema, *schema["$defs"].values()]
    names = {name for kind in kinds for name in kind.get("properties", {})}
    assert len(names) > 40
    assert [name for name in sorted(names) if f"`{name}`" not in section] == []
