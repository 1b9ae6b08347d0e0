"""`3dinv render`: pixels of the run, every format, bounds, refusals."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inv3d.commands.render import command
from inv3d.core.inversion import Inversion
from inv3d.io.cameras import read_cameras, write_labels
from inv3d.io.video import read_video
from inv3d.report import pictures
from inv3d.report.pictures import colour_frames
from inv3d.report.views import render_views
from inv3d.rundir.opening import open_run
from tests.commands.run_case import answer, call, fault, good, imports_nothing_heavy, make_run
from tests.toy_runs import CPU, toy_registered


@pytest.fixture(autouse=True)
def toy_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with toy_registered(monkeypatch):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("render"), latents=4, motion=0.4)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def expected(run: Path, yaw_deg: float, pitch_deg: float = 0.0) -> np.ndarray:
    opened = open_run(run, CPU)
    angles = torch.tensor([[yaw_deg], [pitch_deg]]).deg2rad()
    camera = opened.generator.spec.camera.orbit(angles[0], angles[1])
    ((_, seen),) = render_views(opened.generator, opened.inversion, camera)
    return colour_frames(seen.require("image"))[0]


def test_a_view_has_the_pixels_of_the_run(run: Path, tmp_path: Path) -> None:
    good(command, run, "-o", tmp_path / "a.png", "--yaw-deg", 30, "--pitch-deg", -10)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), expected(run, 30, -10))


def test_the_front_is_the_default(run: Path, tmp_path: Path) -> None:
    good(command, run, "-o", tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), expected(run, 0))


def test_several_views_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    angles = ("--yaw-deg", -40, "--yaw-deg", 0, "--yaw-deg", 40)
    facts = answer(command, run, "-o", tmp_path / "a.png", *angles)
    assert facts["views"] == 3
    assert facts["yaw_deg"] == pytest.approx([-40, 0, 40], abs=1e-3)
    sheet = pixels(tmp_path / "a.png")
    assert sheet.shape == (32, 3 * 32 + 2 * 4, 3)
    right = sheet[:, -32:].astype(int) - expected(run, 40)
    assert np.abs(right).max() <= 1


def test_cameras_of_a_file(run: Path, tmp_path: Path) -> None:
    cameras = run.parent / "capture" / "dataset.json"
    facts = answer(command, run, "-o", tmp_path / "views", "--camera", cameras)
    assert facts["views"] == 7
    yaw = read_cameras(cameras)[0].yaw.rad2deg().tolist()
    assert facts["yaw_deg"] == pytest.approx(yaw, abs=1e-3)
    target = pixels(run.parent / "capture" / "view002.png").astype(int)
    seen = pixels(tmp_path / "views" / "0002.png").astype(int)
    assert np.abs(seen - target).mean() < 12


def test_frames_of_a_video_are_those_that_a_camera_file_names(run: Path, tmp_path: Path) -> None:
    names = tuple(f"frame{i}.png" for i in range(4))
    video = shutil.copytree(run, tmp_path / "video")
    replace(Inversion.load(video), blend="frame", frames=names).save(video)
    front = read_cameras(run.parent / "capture" / "dataset.json")[0][0]
    write_labels(tmp_path / "cameras.json", front.repeat_interleave(4), names)
    good(command, video, "-o", tmp_path / "views", "--camera", tmp_path / "cameras.json")
    frames = [pixels(path).astype(int) for path in sorted((tmp_path / "views").iterdir())]
    assert all(np.abs(a - b).mean() > 0.5 for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize("orbit", ["front-sweep", "full", "ellipse"])
def test_orbits_are_videos(run: Path, tmp_path: Path, orbit: str) -> None:
    out = tmp_path / "a.mp4"
    facts = answer(command, run, "-o", out, "--orbit", orbit, "--frames", 8, "--fps", 12)
    assert facts["codec"] == "h264"
    assert len(read_video(out)) == 8
    assert facts["yaw_deg"][0] == pytest.approx(0, abs=1e-3)


def test_the_default_orbit_keeps_to_what_the_generator_knows(run: Path, tmp_path: Path) -> None:
    facts = answer(command, run, "-o", tmp_path / "a.gif", "--frames", 12)
    assert facts["codec"] == "gif"
    assert 60 < max(facts["yaw_deg"]) <= 90
    assert min(facts["yaw_deg"]) == pytest.approx(-max(facts["yaw_deg"]), abs=1e-3)


def test_going_further_is_a_warning(run: Path, tmp_path: Path) -> None:
    result = call(command, run, "-o", tmp_path / "a.png", "--yaw-deg", 150)
    assert result.exit_code == 0
    assert "1 of 1 pictures are seen from a yaw beyond the generator's ±90 degrees" in result.stderr


def test_depth_in_colours_and_in_world_units(run: Path, tmp_path: Path) -> None:
    good(command, run, "-o", tmp_path / "a.png", "--depth", "--resolution", 24)
    assert pixels(tmp_path / "a.png").shape == (32, 32, 3)
    good(command, run, "-o", tmp_path / "a.npy", "--depth", "--resolution", 24)
    depth = np.load(tmp_path / "a.npy")
    assert depth.shape == (1, 24, 24) and depth.dtype == np.float32
    opened = open_run(run, CPU)
    camera = opened.generator.spec.camera.orbit(torch.zeros(1), torch.zeros(1))
    outputs = ("depth", "mask")
    ((_, seen),) = render_views(opened.generator, opened.inversion, camera, outputs, 24)
    surface = (seen.require("mask") >= 0.5)[:, 0].numpy()
    assert surface.any() and not surface.all()
    np.testing.assert_allclose(depth[surface], seen.require("depth")[:, 0].numpy()[surface])
    assert 1.7 < depth[surface].min() < 2.7 < depth[surface].max() <= 3.7
    assert (depth[~surface] == 0).all()


@pytest.mark.parametrize(("size", "change"), [(80, "enlarged, which adds no"), (20, "made small")])
def test_pictures_of_another_size_are_resampled_and_said_to_be(
    run: Path, tmp_path: Path, size: int, change: str
) -> None:
    result = call(command, run, "-o", tmp_path / "a.png", "--yaw-deg", 30, "--size", size)
    assert result.exit_code == 0
    assert f"note: the generator's pictures have 32 pixels a side; {change}" in result.stderr
    assert f"to {size} (bicubic)" in result.stderr
    own = Image.fromarray(expected(run, 30))
    resampled = np.asarray(own.resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels(tmp_path / "a.png") - resampled).mean() < 1.5


def test_the_generators_own_size_needs_no_word(run: Path, tmp_path: Path) -> None:
    result = call(command, run, "-o", tmp_path / "a.png", "--size", 32)
    assert "note" not in result.stderr
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), expected(run, 0))


def test_depth_pictures_and_videos_have_the_size_too(run: Path, tmp_path: Path) -> None:
    good(command, run, "-o", tmp_path / "a.png", "--depth", "--size", 50)
    assert pixels(tmp_path / "a.png").shape == (50, 50, 3)
    options = ("--orbit", "full", "--frames", 2, "--size", 64)
    assert answer(command, run, "-o", tmp_path / "a.mp4", *options)["size"] == 64
    assert read_video(tmp_path / "a.mp4")[0].shape == (64, 64, 3)


@pytest.mark.parametrize(("name", "side"), [("a.png", 45), ("a.mp4", 46), ("a.gif", 45)])
def test_the_size_that_is_said_is_the_files(
    run: Path, tmp_path: Path, name: str, side: int
) -> None:
    """Pictures of depth have a pixel for every ray; MP4 has even sides."""
    options = ("--yaw-deg", 20, "--depth", "--resolution", 45)
    assert answer(command, run, "-o", tmp_path / name, *options)["size"] == side
    path = tmp_path / name
    seen = read_video(path)[0] if name.endswith("mp4") else pixels(path)
    assert seen.shape == (side, side, 3)


def test_frames_of_an_orbit_in_a_still(run: Path, tmp_path: Path) -> None:
    options = ("--orbit", "full", "--frames", 3)
    assert answer(command, run, "-o", tmp_path / "a.png", *options)["views"] == 3
    assert answer(command, run, "-o", tmp_path / "frames", "--frames", 2)["views"] == 2


@pytest.mark.parametrize("options", [(), ("--depth",)])
def test_pictures_are_made_as_they_are_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Large ones of a long video don't fit into memory."""
    made, ahead = [], []
    single = "_on_grey" if options else "sized"
    inner = getattr(pictures, single)

    def making(*given: Any) -> Any:
        made.extend(given[0])
        return inner(*given)

    def writing(out: Path, frames: Iterable[np.ndarray], fps: float) -> str:
        for count, _ in enumerate(frames, 1):
            ahead.append(len(made) - count)
        return "png"

    monkeypatch.setattr(pictures, single, making)
    monkeypatch.setattr("inv3d.io.video.write_video", writing)
    good(command, run, "-o", tmp_path / "frames", "--frames", 40, "--size", 64, *options)
    assert ahead == [0] * 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "a.png", "--frames", "12", "--fps", "60"), "a.png: --frames is for orbits; add"),
        (("-o", "a.mp4", "--frames", "12", "--yaw-deg", "1"), "a.mp4: --frames is for orbits"),
        (("-o", "a.mp4", "--frames", "12", "--camera", "c.json"), "--frames is for orbits"),
        (("-o", "a.png", "--fps", "24"), "a.png: --fps is for videos; write .mp4 or .gif"),
        (("-o", "frames", "--fps", "24"), "frames: --fps is for videos"),
        (("-o", "a.gif", "--fps", "60"), "--fps 60: a GIF shows at most 50 pictures a second"),
        (("-o", "a.mp4", "--size", "101"), "--size 101: sides of an MP4 are even; give 102"),
        (("-o", "a.npy", "--depth", "--size", "64"), "--size is for pictures; --resolution sets"),
        (("-o", "a.jpeg"), "unknown format 'jpeg'"),
        (("-o", "a.mp3"), "did you mean 'mp4'"),
        (("-o", "a.npy"), "add --depth"),
        (("-o", "a.png", "--orbit", "full", "--yaw-deg", "3"), "give one of"),
        (("-o", "a.mp4", "--orbit", "fulll"), "did you mean 'full'"),
        (("-o", "a.png", "--device", "gpu"), "--device gpu: expected auto, cpu"),
        (("-o", "a.png", "--camera", "none.json"), "can't be read"),
        (
            ("-o", "a.png", *("--yaw-deg", "1") * 2, *("--pitch-deg", "1") * 3),
            "3 --pitch-deg for 2 --yaw-deg",
        ),
    ],
)
def test_refusals(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fault(command, run, *arguments)
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "no run.json" in fault(command, tmp_path, "-o", tmp_path / "a.png")


def test_import_is_light() -> None:
    assert imports_nothing_heavy("inv3d.commands.render")
