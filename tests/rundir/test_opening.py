"""Run directories: they load back to the same pixels, and say what is wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError, PluginError, RunError, WeightsError
from inv3d.io.cameras import write_labels
from inv3d.io.dataset import open_capture
from inv3d.report.pictures import save_png
from inv3d.report.views import render_views
from inv3d.rundir.frames import describe_input
from inv3d.rundir.opening import open_run, read_metrics, read_record, run_capture
from tests.captures import noise_image, ring
from tests.toy_runs import (
    CPU,
    Case,
    toy_case,
    toy_generator,
    toy_registered,
    tuned,
    write_capture,
    write_run,
)


@pytest.fixture(autouse=True)
def toy_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with toy_registered(monkeypatch):
        yield


def render(case_or_run: object, camera: Camera) -> torch.Tensor:
    generator, inversion = case_or_run.generator, case_or_run.inversion
    return torch.cat([r.require("image") for _, r in render_views(generator, inversion, camera)])


def saved(tmp_path: Path, case: Case, **changes: object) -> Path:
    source = write_capture(case.capture, tmp_path / "capture")
    return write_run(case, tmp_path / "run", source, **changes)


@pytest.mark.parametrize("latents", [1, 4])
def test_a_run_loads_back_to_the_same_pixels(tmp_path: Path, latents: int) -> None:
    case = tuned(toy_case(latents=latents, motion=0.5 if latents > 1 else 0.0, error=0.1))
    before = render(case, case.capture.camera)
    run = open_run(saved(tmp_path, case), CPU)
    assert repr(run) == f"Run(directory={run.directory!r})"  # not the weights and the record
    assert case.inversion.generator_delta
    assert torch.equal(render(run, case.capture.camera), before)
    untuned = toy_case(latents=latents, motion=0.5 if latents > 1 else 0.0, error=0.1)
    assert not torch.equal(render(untuned, case.capture.camera), before)


def test_the_capture_of_a_run_is_read_again(tmp_path: Path) -> None:
    case = toy_case()
    run = open_run(saved(tmp_path, case), CPU)
    capture, chosen, held_out = run_capture(run)
    assert capture.names == case.capture.names
    assert (chosen, held_out) == (case.chosen, case.held_out)
    torch.testing.assert_close(capture.images, case.capture.images, atol=0.005, rtol=0)
    torch.testing.assert_close(capture.depths, case.capture.depths, atol=1e-4, rtol=0)


def test_only_the_frames_of_the_run_are_read(tmp_path: Path) -> None:
    case = toy_case()
    source = write_capture(case.capture, tmp_path / "capture")
    frames = open_capture(source).load(case.generator.spec.resolution, [2, 3, 4])
    inputs = describe_input(str(source), frames, [0], [1]).model_dump(mode="json")
    run = open_run(write_run(case, tmp_path / "run", source, input=inputs), CPU)
    capture, chosen, held_out = run_capture(run)
    assert capture.names == case.capture.names[2:5]
    assert (chosen, held_out) == ([0], [1])


def test_another_capture_is_all_held_out(tmp_path: Path) -> None:
    case = toy_case()
    run = open_run(saved(tmp_path, case), CPU)
    other = write_capture(toy_case(5).capture, tmp_path / "other")
    capture, chosen, held_out = run_capture(run, str(other))
    assert len(capture) == 5
    assert (chosen, held_out) == ([], [0, 1, 2, 3, 4])


def test_a_capture_that_lost_a_frame_is_an_error(tmp_path: Path) -> None:
    case = toy_case()
    directory = saved(tmp_path, case)
    record = json.loads((directory / "run.json").read_text())
    record["input"]["views"][0] = "gone.png"
    (directory / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"no longer has gone\.png, which .*/run was made from"):
        run_capture(open_run(directory, CPU))


@pytest.mark.parametrize("changed", ["picture", "camera"])
def test_a_capture_that_changed_is_an_error_with_a_remedy(tmp_path: Path, changed: str) -> None:
    case = toy_case()
    run = open_run(saved(tmp_path, case), CPU)
    if changed == "picture":
        save_png(tmp_path / "capture" / "view003.png", noise_image(1, 32))
    else:
        write_labels(tmp_path / "capture" / "dataset.json", ring(7, 50), case.capture.names)
    message = r"capture: its images, labels or masks aren't those that .*/run was made from; "
    message += "put them back, or do so"
    with pytest.raises(RunError, match=message):
        run_capture(run, otherwise="do so")
    assert len(run_capture(run, str(tmp_path / "capture"))[0]) == 7


def test_a_run_without_its_capture_says_so(tmp_path: Path) -> None:
    none = {"path": None, "views": [], "chosen": [], "held_out": [], "digest": ""}
    run = open_run(saved(tmp_path, toy_case(), input=none), CPU)
    with pytest.raises(InputError, match=r"imported without its capture; give .* with --input"):
        run_capture(run)


def test_a_record_that_was_changed_names_the_entry(tmp_path: Path) -> None:
    directory = saved(tmp_path, toy_case(), input={"path": "capture"})
    with pytest.raises(RunError, match=r"run\.json: 'views': field required"):
        run_capture(open_run(directory, CPU))


def test_options_that_were_changed_are_the_records(tmp_path: Path) -> None:
    changed = toy_generator(toy_case().inversion.fingerprint, options={"seed": "x"})
    with pytest.raises(RunError, match=r"run\.json: option 'seed' of generator toy: .*was changed"):
        open_run(saved(tmp_path, toy_case(), generator=changed), CPU)


def test_a_record_of_a_later_format_is_refused(tmp_path: Path) -> None:
    directory = saved(tmp_path, toy_case())
    record = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(
        RunError, match=r"run\.json: format 99, expected 1; use it with the version"
    ):
        read_record(directory)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such directory"):
        read_record(tmp_path / "nothing")
    with pytest.raises(RunError, match=r"no run\.json"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text("")
    with pytest.raises(RunError, match=r"not valid JSON .*; start the run again"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="not the record of a run"):
        read_record(tmp_path)


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    directory = saved(tmp_path, toy_case(), status="interrupted")
    (directory / "inversion.safetensors").unlink()
    with pytest.raises(RunError, match=r"interrupted.*--resume") as error:
        open_run(directory, CPU)
    assert str(directory) in str(error.value)


def test_a_missing_generator_is_named(tmp_path: Path) -> None:
    directory = saved(tmp_path, toy_case(), generator=toy_generator("f", name="gone"))
    with pytest.raises(PluginError, match=r"made with generator 'gone'.*install the package"):
        open_run(directory, CPU)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    case = toy_case()
    other = toy_generator(case.inversion.fingerprint, options={"seed": 5})
    with pytest.raises(WeightsError, match=r"generator toy: fingerprint \w+, but .*/run was made"):
        open_run(saved(tmp_path, case, generator=other), CPU)


def test_metrics_that_are_missing_say_how_to_make_them(tmp_path: Path) -> None:
    directory = saved(tmp_path, toy_case())
    with pytest.raises(RunError, match=r"3dinv eval .* --save"):
        read_metrics(directory)
    (directory / "metrics.json").write_text("{")
    with pytest.raises(RunError, match=r"metrics\.json: not valid JSON .*; measure the run again"):
        read_metrics(directory)
    (directory / "metrics.json").unlink()
    (directory / "inversion.safetensors").unlink()
    with pytest.raises(RunError, match=r"inversion\.safetensors is missing, .*--overwrite"):
        read_metrics(directory)


def test_metrics_that_say_not_what_they_are_must_be_measured_again(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"format": 1, "rotation": {"mse": 0.1}}')
    with pytest.raises(RunError, match=r"metrics\.json: has no 'columns'.*3dinv eval .* --save"):
        read_metrics(tmp_path)


def test_tables_of_runs_are_read_without_torch() -> None:
    code = "import sys, inv3d.report.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
