"""`3dinv edit` and `3dinv editor`: new runs, names, sheets, directions, what is refused."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.commands.edit import command as edit
from inv3d.commands.editor import command as editor
from inv3d.commands.eval import command as evaluate
from inv3d.commands.export import command as export
from inv3d.commands.render import command as render
from inv3d.core.editor import Directions, Editor, directions_path
from inv3d.core.inversion import Inversion
from inv3d.core.registry.discovery import registry
from inv3d.rundir.opening import open_run
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.blank_plots import blank_plots
from tests.commands.run_case import answer, call, fault, good, imports_nothing_heavy, make_run

TOY = (
    "generators:toy=tests.plugins.editors.subjects:KnownToy,"
    "editors:calm=tests.plugins.editors.subjects:Calm,"
    # a broken one, before all others
    "editors:a-broken=no_such_module:Editor"
)
QUICK = ("--set", "samples=3000")


@pytest.fixture(scope="module", autouse=True)
def known_toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A toy that knows its latents, and a folder of its own for directions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INV3D_PLUGINS", TOY)
        patch.setenv("INV3D_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
        registry.cache_clear()
        yield
    registry.cache_clear()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs "one" and "other", with directions of both editors for their generator."""
    folder = tmp_path_factory.mktemp("edit")
    make_run(folder, "one", latents=3, motion=0.4)
    make_run(folder, "other", error=0.5)
    good(editor, "fit", "ganspace", "--generator", "toy", *QUICK, "--set", "named_from=0.71")
    good(editor, "fit", "interfacegan", "--generator", "toy", *QUICK, "--set", "chosen=0.1")
    return folder


def test_options_of_an_edit_arent_set(runs: Path, tmp_path: Path) -> None:
    words = (runs / "one", "--editor", "calm", "--set", "strength=1", "-o", tmp_path / "new")
    assert "--set: options of an edit are given by their names, such as --" in fault(edit, *words)


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def everything(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(run.iterdir()) if p.is_file()}


def test_an_edited_run_is_a_run_like_any_other(runs: Path, tmp_path: Path) -> None:
    before, out = everything(runs / "one"), tmp_path / "edited"
    with blank_plots():
        facts = answer(
            edit,
            runs / "one",
            "--editor",
            "ganspace",
            "--component",
            1,
            "--strength",
            -2,
            "-o",
            out,
        )
    assert everything(runs / "one") == before
    assert facts["run"]["status"] == "finished" and facts["metrics"]["front"]["mse"] is not None
    made = Inversion.load(out).history
    assert [one.name for one in made] == ["multilatent", "ganspace"]
    assert made[1].options["component"] == 1 and made[1].options["strength"] == -2.0
    said = record(out)
    assert said["method"]["name"] == "multilatent + ganspace"
    assert said["edit"]["parent"]["path"] == str(runs / "one")
    files = {p.name for p in out.iterdir()}
    assert {"report.html", "before_after.mp4", "strength.mp4", "orbit.mp4"} <= files
    page = (out / "report.html").read_text()
    assert "What the edit changed" in page and "before_after.mp4" in page
    good(render, out, "-o", tmp_path / "x.png")
    good(export, out, "-o", tmp_path / "x.glb", "--resolution", 24)
    good(evaluate, out)
    # and once more
    again = tmp_path / "again"
    good(edit, out, "--shine", 1, "-o", again, "--no-report")
    assert [one.name for one in Inversion.load(again).history][-1] == "interfacegan"
    assert record(again)["method"]["name"] == "multilatent + ganspace + interfacegan"
    assert open_run(again).generator.tuned


def test_named_edits_are_made_one_after_another(runs: Path, tmp_path: Path) -> None:
    good(edit, runs / "one", "--size=1.5", "--shine", "-1", "-o", tmp_path / "x", "--no-report")
    made = Inversion.load(tmp_path / "x").history[1:]
    assert [(m.options["attribute"], m.options["strength"]) for m in made] == [
        ("size", 1.5),
        ("shine", -1.0),
    ]
    names = [each["name"] for each in record(tmp_path / "x")["edit"]["edits"]]
    assert names == ["size", "shine"]
    assert not (tmp_path / "x" / "report.html").exists()


def test_names_go_with_options_and_with_an_editor(runs: Path, tmp_path: Path) -> None:
    good(
        edit, runs / "one", "--editor", "ganspace", "--size", 2, "--start", 1, "--end", 2,
        "-o", tmp_path / "x", "--no-report",
    )  # fmt: skip
    moved = Inversion.load(tmp_path / "x").ws - Inversion.load(runs / "one").ws
    assert float(moved[:, [0, 2, 3]].abs().max()) == 0 and float(moved[0, 1].abs().max()) > 0
    good(
        edit, runs / "one", "--editor", "interfacegan", "--attribute", "size", "--keep", "shine",
        "-o", tmp_path / "y", "--no-report",
    )  # fmt: skip
    assert Inversion.load(tmp_path / "y").history[-1].options["keep"] == ["shine"]


def test_far_out_is_said_and_kept(runs: Path, tmp_path: Path) -> None:
    result = call(
        edit, runs / "one", "--editor", "ganspace", "--strength", 30, "-o", tmp_path / "x",
        "--no-report",
    )  # fmt: skip
    assert "warning: component 0: the latent ends" in result.stderr
    assert "standard deviations" in record(tmp_path / "x")["warnings"][0]


def test_runs_that_take_part_are_never_replaced(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(runs / "one")
    before = [everything(runs / name) for name in ("one", "other")]
    mixing = (tmp_path / "link", "--editor", "interpolate", "--with", runs / "other", "--overwrite")
    assert "is the run itself" in fault(edit, *mixing, "-o", runs / "one")
    assert "is the run that --with" in fault(edit, *mixing, "-o", runs / "one" / ".." / "other")
    assert [everything(runs / name) for name in ("one", "other")] == before


def test_a_reader_that_leaves_does_not_end_the_edit(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    words = (runs / "one", "--editor", "interpolate", "--with", runs / "other", "-o", out)
    command = shlex.join([sys.executable, "-m", "inv3d", "edit", *map(str, words)])
    subprocess.run(["sh", "-c", f"{command} 2>&1 >/dev/null | head -c 1"], check=True)
    assert record(out)["status"] == "finished"
    assert (out / "report.html").is_file()
    # nor that of eval, which makes the report again
    (out / "run.json").write_text(json.dumps(record(out) | {"status": "unreported"}))
    command = shlex.join([sys.executable, "-m", "inv3d", "eval", str(out), "--save"])
    subprocess.run(["sh", "-c", f"{command} 2>&1 >/dev/null | head -c 1"], check=True)
    assert record(out)["status"] == "finished"


@pytest.mark.parametrize("name", ["interpolate", "stylemix"])
def test_another_run_takes_part(runs: Path, tmp_path: Path, name: str) -> None:
    good(
        edit, runs / "one", "--editor", name, "--with", runs / "other", "--strength", 0.5,
        "-o", tmp_path / "x", "--no-report",
    )  # fmt: skip
    said = record(tmp_path / "x")["edit"]["partners"]
    assert [each["path"] for each in said] == [str(runs / "other")]
    open_run(tmp_path / "x")


def test_interpolating_tuned_runs_tunes_in_between(runs: Path, tmp_path: Path) -> None:
    good(
        edit, runs / "one", "--editor", "interpolate", "--with", runs / "other", "--strength", 0.0,
        "-o", tmp_path / "x", "--no-report",
    )  # fmt: skip
    first, same = open_run(runs / "one"), open_run(tmp_path / "x")
    for name, value in first.generator.state_dict().items():
        assert torch.allclose(same.generator.state_dict()[name], value, atol=1e-6), name


def test_strengths_without_a_sign_are_shown_too(runs: Path, tmp_path: Path) -> None:
    for name, shown in (("stylemix", True), ("transfer", False)):
        more = ("--box=-0.5,-0.5,-0.5,0.5,0.5,0.5", "--grid", 6) if name == "transfer" else ()
        with blank_plots():
            good(
                edit, runs / "one", "--editor", name, "--with", runs / "other", *more,
                "-o", tmp_path / name,
            )  # fmt: skip
        assert (tmp_path / name / "strength.mp4").is_file() == shown
        assert (tmp_path / name / "before_after.mp4").is_file()


def test_painting_on_the_photo(runs: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(tmp_path / "white.png")
    good(
        edit, runs / "one", "--editor", "texture", "--picture", tmp_path / "white.png",
        "--steps", 2, "--method-options", '{"path": {"views": 2}}', "-o", tmp_path / "x",
        "--no-report",
    )  # fmt: skip
    opened = open_run(tmp_path / "x")
    assert opened.inversion.history[-1].name == "texture"


def test_an_edit_is_given_its_own_angle(runs: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(tmp_path / "white.png")
    good(
        edit, runs / "one", "--editor", "transfer", "--with", runs / "other",
        "--mask", tmp_path / "white.png", "--yaw-deg", "-20", "-o", tmp_path / "x", "--no-report",
    )  # fmt: skip
    assert open_run(tmp_path / "x").inversion.history[-1].options["yaw_deg"] == -20.0


def test_no_editor_can_have_an_option_of_the_command() -> None:
    own = {name.lstrip("-").replace("-", "_") for p in edit.params for name in p.opts}
    assert own - {"words", "yaw_deg", "o"} == set(Editor.hidden) - {"help"}


@pytest.mark.parametrize("name", ["ganspace", "interfacegan"])
def test_a_sheet_shows_edits_and_strengths(runs: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "sheet.png"
    facts = answer(
        edit, runs / "one", "--sheet", "--editor", name, "--rows", 2, "--strengths", "-1,0,2",
        "--yaw-deg", 0, "--yaw-deg", 30, "-o", out,
    )  # fmt: skip
    assert len(facts["rows"]) == 2 and facts["strengths"] == [-1, 0, 2]
    picture = np.asarray(Image.open(out))
    assert picture.shape[1] == 6 * 32 + 5 * 4 and picture.shape[0] > 2 * 32
    # strength 0 is the head itself, others aren't
    cells = [picture[18:50, i * 36 : i * 36 + 32].astype(int) for i in range(6)]
    assert abs(cells[2] - cells[0]).mean() > 0.5 and abs(cells[2] - cells[3]).mean() > 0.5


@pytest.mark.parametrize("name", ["stylemix", "interpolate"])
def test_a_sheet_of_two_heads_goes_from_one_to_the_other(
    runs: Path, tmp_path: Path, name: str
) -> None:
    arguments = ("--sheet", "--editor", name, "--with", runs / "other", "-o", tmp_path / "a.png")
    facts = answer(edit, runs / "one", *arguments, "--yaw-deg", 0)
    assert facts["strengths"] == [0, 0.25, 0.5, 0.75, 1]
    if name == "stylemix":
        said = fault(edit, runs / "one", *arguments, "--strengths", "0,2")
        assert "--strengths 2: option 'strength' of editor stylemix" in said


def test_a_sheet_of_edits_that_go_to_a_strength_has_them_at_0_too(
    runs: Path, tmp_path: Path
) -> None:
    arguments = ("--sheet", "--editor", "interfacegan", "--attribute", "size", "--yaw-deg", 0)
    cells = []
    for mode in ("to", "by"):
        out = tmp_path / f"{mode}.png"
        good(edit, runs / "one", *arguments, "--mode", mode, "--strengths", "0", "-o", out)
        cells.append(np.asarray(Image.open(out)).astype(int))
    assert abs(cells[0] - cells[1]).max() > 2


def test_a_sheet_goes_into_the_run_and_can_be_of_one_edit(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "one", tmp_path / "run")
    good(edit, run, "--sheet", "--rows", 1, "--strengths", "1")
    assert (run / "edits-interfacegan.png").is_file()
    facts = answer(
        edit, run, "--sheet", "--editor", "ganspace", "--component", 3, "--strengths", "1",
        "-o", tmp_path / "x.png",
    )  # fmt: skip
    assert [row["options"]["component"] for row in facts["rows"]] == [3]


@pytest.mark.parametrize("option", [("--unit", "raw"), ("--mode", "to")])
def test_options_that_go_with_names_need_no_editor(
    runs: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    arguments = ("--sheet", *option, "--rows", 2, "--strengths", "1", "--yaw-deg", 0)
    facts = answer(edit, runs / "one", *arguments, "-o", tmp_path / "s.png")
    assert len(facts["rows"]) == 2
    assert option[0][2:] in facts["rows"][0]["options"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected one run to edit, found none"),
        (["{run}", "{run}"], "expected one run to edit, found 2"),
        (["{run}", "--siz", "1", "-o", "{out}"], "name siz; did you mean 'size'?"),
        (["{run}", "--editor", "ganspac", "-o", "{out}"], "did you mean 'ganspace'?"),
        (["{run}", "--editor", "ganspace", "--strenth", "1", "-o", "{out}"], "mean 'strength'?"),
        (["{run}", "--size", "much", "-o", "{out}"], "--size much: expected a strength"),
        (["{run}", "--size", "1", "--strength", "2", "-o", "{out}"], "'size' says it already"),
        (["{run}", "--size", "1", "--yaw-deg", "3", "-o", "{out}"], "--yaw-deg: of a sheet"),
        (["{run}", "--size", "1"], "give the directory of the edited run with -o"),
        (["{run}", "--size", "1", "-o", "{run}"], "is the run itself"),
        (["{run}", "--sheet", "--size", "1"], "a sheet shows every strength"),
        (["{run}", "--sheet", "-o", "{out}"], "ends in .png"),
        (["{run}", "--sheet", "--editor", "transfer"], "0 other runs, expected 1"),
        (["{run}", "--editor", "ganspace", "--component", "99", "-o", "{out}"], "give 0 to 7"),
        (["{run}", "--editor", "ganspace", "--end", "9", "-o", "{out}"], "num_ws"),
        (
            ["{run}", "--editor", "ganspace", "--end", "x", "-o", "{out}"],
            "'end' of editor ganspace",
        ),
        (["{out}", "--size", "1", "-o", "{out}2"], "no such directory"),
        (
            [
                "{run}",
                "--editor",
                "transfer",
                "--with",
                "{run}",
                "--mask",
                "none.png",
                "-o",
                "{out}",
            ],
            "none.png: can't be read",
        ),
        (["{run}", "--size", "1", "--directions", "none.safetensors", "-o", "{out}"], "none.safe"),
    ],
)
def test_wrong_words_end_in_one_line(
    runs: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    filled = [w.format(run=runs / "one", out=tmp_path / "out") for w in words]
    if not filled or (filled.count(filled[0]) > 1 and "-o" not in filled):
        filled += ["-o", str(tmp_path / "out")]
    assert said in fault(edit, *filled)
    assert not (tmp_path / "out").exists() and not list(tmp_path.iterdir())


def test_directions_of_another_generator_are_refused(runs: Path, tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    found = Directions.load(directions_path("ganspace", generator))
    other = Directions("ganspace", "toy", "0123456789abcdef", found.tensors, found.facts)
    other.save(tmp_path / "other.safetensors")
    message = fault(
        edit, runs / "one", "--editor", "ganspace", "--directions", tmp_path / "other.safetensors",
        "-o", tmp_path / "x",
    )  # fmt: skip
    assert "0123456789abcdef" in message and generator.spec.fingerprint in message
    theirs = Directions("interfacegan", "toy", found.fingerprint, found.tensors)
    theirs.save(tmp_path / "theirs.safetensors")
    assert "directions of editor interfacegan, expected those of ganspace" in fault(
        edit, runs / "one", "--editor", "ganspace", "--directions", tmp_path / "theirs.safetensors",
        "-o", tmp_path / "x",
    )  # fmt: skip


def test_what_is_kept_can_come_from_a_file(runs: Path, tmp_path: Path) -> None:
    generator = ToyGenerator(ToyConfig())
    keep = Directions("x", "toy", generator.spec.fingerprint, {"components": torch.eye(8)[:3]})
    keep.save(tmp_path / "keep.safetensors")
    good(
        edit, runs / "one", "--editor", "ganspace", "--component", 2, "-o", tmp_path / "x",
        "--keep-directions", tmp_path / "keep.safetensors", "--no-report",
    )  # fmt: skip
    moved = Inversion.load(tmp_path / "x").ws - Inversion.load(runs / "one").ws
    assert float(moved[..., :3].abs().max()) < 1e-5 < float(moved[..., 3:].abs().max())


def test_a_run_without_its_frames_is_edited_without_a_report(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "one", tmp_path / "run")
    said = record(run)
    said["input"]["path"] = None
    (run / "run.json").write_text(json.dumps(said))
    result = call(edit, run, "--size", 1, "-o", tmp_path / "x")
    assert result.exit_code == 0 and "no report, for want of the frames" in result.stderr
    assert record(tmp_path / "x")["status"] == "finished"


def test_an_edited_run_is_replaced_only_when_asked(runs: Path, tmp_path: Path) -> None:
    words = (runs / "one", "--size", 1, "-o", tmp_path / "x", "--no-report")
    good(edit, *words)
    assert "--overwrite" in fault(edit, *words)
    good(edit, *words, "--overwrite")


def test_directions_are_shown_and_kept_where_asked(runs: Path, tmp_path: Path) -> None:
    said = good(editor, "show", "interfacegan", "--generator", "toy")
    assert "--size" in said and "interfacegan for toy" in said
    out = tmp_path / "x.safetensors"
    facts = answer(
        editor, "fit", "ganspace", "--generator", "toy", "--set", "samples=500",
        "--set", "components=3", "-o", out, "--seed", 4,
    )  # fmt: skip
    assert facts["file"] == str(out) and facts["tensors"]["components"] == [3, 8]
    assert "needs no directions" in good(editor, "show", "stylemix", "--generator", "toy")
    facts = answer(editor, "show", "stylemix", "--generator", "toy")
    assert facts == {"file": None, "editor": "stylemix", "generator": "toy"}


def test_directions_of_others_are_taken(runs: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "theirs.npy", np.eye(8, dtype=np.float32)[:4])
    facts = answer(
        editor, "import", "ganspace", tmp_path / "theirs.npy", "--generator", "toy",
        "-o", tmp_path / "x.safetensors",
    )  # fmt: skip
    assert facts["facts"]["fit"]["measured"] == ["mean", "deviations"]
    good(
        edit, runs / "one", "--editor", "ganspace", "--component", 3, "--unit", "raw",
        "--directions", tmp_path / "x.safetensors", "-o", tmp_path / "y", "--no-report",
    )  # fmt: skip
    moved = Inversion.load(tmp_path / "y").ws - Inversion.load(runs / "one").ws
    assert torch.allclose(moved[0, 0], torch.eye(8)[3], atol=1e-6)
    assert "reads no directions of other projects" in fault(
        editor, "import", "stylemix", tmp_path / "theirs.npy", "--generator", "toy"
    )


def test_a_direction_with_any_file_name_is_an_option(runs: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide-smile 2.npy", np.eye(8, dtype=np.float32)[0])
    out = tmp_path / "x.safetensors"
    arguments = ("interfacegan", tmp_path / "wide-smile 2.npy", "--generator", "toy", "-o", out)
    assert "--wide-smile-2" in good(editor, "import", *arguments)
    good(
        edit, runs / "one", "--wide-smile-2", 1, "--directions", out, "-o", tmp_path / "y",
        "--no-report",
    )  # fmt: skip
    assert (tmp_path / "y").is_dir()


def test_editors_without_directions_have_nothing_to_fit() -> None:
    assert "has nothing to fit" in fault(editor, "fit", "stylemix", "--generator", "toy")
    assert "unknown option 'sample'" in fault(
        editor, "fit", "ganspace", "--generator", "toy", "--set", "sample=3"
    )


def test_without_directions_it_says_how_to_find_some(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INV3D_WEIGHTS", str(tmp_path / "weights"))
    message = fault(edit, runs / "one", "--editor", "ganspace", "-o", tmp_path / "x")
    assert "3dinv editor fit ganspace --generator toy" in message


def test_edits_are_measured_on_pictures(runs: Path) -> None:
    rows = answer(
        editor, "measure", "interfacegan", runs / "one", "--edit", "size=1", "--edit", "size=-1",
        "--samples", 200,
    )  # fmt: skip
    up, down = rows
    assert up["moved"] > 0 > down["moved"] and up["trust"] > 0.3
    more = call(
        editor, "measure", "interfacegan", runs / "one", "--edit", "size=1", "--samples", 99
    )
    assert "pictures of 99 heads" in more.stderr
    assert "expected NAME=STRENGTH" in fault(
        editor, "measure", "interfacegan", runs / "one", "--edit", "size"
    )


@pytest.mark.parametrize("module", ["edit", "editor"])
def test_the_commands_are_light_until_they_run(module: str) -> None:
    assert imports_nothing_heavy(f"inv3d.commands.{module}")


def test_an_editor_of_somebody_else_is_an_editor_like_any_other(runs: Path, tmp_path: Path) -> None:
    with blank_plots():
        good(
            edit,
            runs / "one",
            "--editor",
            "calm",
            "--strength",
            1,
            "--end",
            2,
            "-o",
            tmp_path / "x",
        )
    assert {"strength.mp4", "report.html"} <= {p.name for p in (tmp_path / "x").iterdir()}
    ws = Inversion.load(tmp_path / "x").ws
    assert torch.allclose(ws[:, :2], ws[:1, :1].expand(len(ws), 2, -1), atol=1e-6)
    facts = answer(
        edit, runs / "one", "--editor", "calm", "--sheet", "--strengths", "1",
        "-o", tmp_path / "x.png",
    )  # fmt: skip
    assert [row["title"] for row in facts["rows"]] == ["calm"]
