"""The ending of a run: every file, a self-contained page, nothing half-written."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from inv3d.core.camera import Camera
from inv3d.core.errors import UsageError
from inv3d.core.inversion import Inversion, Made
from inv3d.core.scene import Rendering, Scene
from inv3d.io.video import read_video
from inv3d.report import pictures as pics
from inv3d.report.html import LARGEST_VIDEO
from inv3d.report.novel import novel_views
from inv3d.report.orbit import default_orbit, orbit_path, strip
from inv3d.runs import finish as finish_module
from inv3d.runs.finish import orbit_frames, title_of
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests.blank_plots import draw_no_plots
from tests.toy_runs import Case, finish, toy_case, write_capture, write_run

FILES = {"metrics.json", "report.html", "orbit.mp4", "mesh.glb", "previews"}


class Parts(HTMLParser):
    """Collects tags and attributes, and checks that tags close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def run_of(tmp_path: Path, case: Case) -> Path:
    source = write_capture(case.capture, tmp_path / "capture <1>")
    return write_run(case, tmp_path / "run", source)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    case = toy_case(latents=4, motion=0.4, error=0.1)
    directory = run_of(folder, case)
    finish(case, directory, folder / "capture <1>", pictures=True)
    return directory


def test_every_file_is_there_and_nothing_temporary(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == FILES | {"run.json", "inversion.safetensors", "steps.jsonl"}
    previews = {path.name for path in (finished / "previews").iterdir()}
    assert previews == {
        "targets_vs_reconstructions.png",
        "novel_views.png",
        "depth.png",
        "curves.png",
    }
    for path in (finished / "previews").iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) >= 32


def test_video_and_mesh_can_be_opened(finished: Path) -> None:
    frames = read_video(finished / "orbit.mp4")
    assert len(frames) == finish_module.ORBIT_FRAMES
    assert frames[0].shape == (32, 32, 3)
    mesh = next(iter(trimesh.load_scene(finished / "mesh.glb").geometry.values()))
    assert mesh.volume > 0


def test_metrics_are_strict_json_with_seconds_and_warnings(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["seconds"]["latent"] == 1.5
    assert {"metrics", "pictures"} <= set(metrics["seconds"])
    assert isinstance(metrics["warnings"], list)
    assert len(metrics["per_frame"]) == 7


def test_the_page_needs_nothing_from_outside(finished: Path) -> None:
    parts = Parts((finished / "report.html").read_text())
    assert not parts.all("script")
    for tag, attributes in parts.tags:
        for name in ("src", "srcset", "data", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        reference = attributes.get("href", attributes.get("xlink:href", "#"))
        if tag == "a":
            assert (finished / reference).is_file()
        else:
            assert reference.startswith(("#", "data:"))
    style = parts.text
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", style)


def test_every_picture_is_described_and_can_be_decoded(finished: Path) -> None:
    parts = Parts((finished / "report.html").read_text())
    images = parts.all("img")
    assert len(images) == 7 * 3 + 9 * 3
    for image in images:
        assert len(image["alt"]) > 5
        data = base64.b64decode(image["src"].partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (int(image["width"]), int(image["height"]))
    plots = parts.all("svg")
    assert len(plots) == 2 + 4
    assert all(plot["aria-label"] for plot in plots)
    (video,) = parts.all("video")
    assert video["aria-label"]
    assert base64.b64decode(video["src"].partition(",")[2]) == (finished / "orbit.mp4").read_bytes()


def test_the_page_fits_narrow_windows_and_dark_rooms(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert '<meta name="viewport" content="width=device-width' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media (max-width:" in page


def test_what_the_page_says(finished: Path) -> None:
    text = Parts((finished / "report.html").read_text()).text
    for word in (
        "multilatent (fast)",
        "toy",
        "303",
        "held out",
        "Depth consistency",
        "latent.steps",
    ):
        assert word in text
    assert "<b>not bold</b>" in text
    assert "capture <1>" in text


def test_texts_are_escaped(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "<b>not bold</b>" not in page
    assert "capture <1>" not in page


# --- other endings


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_no_plots(monkeypatch)


def test_without_pictures_there_is_still_a_report(tmp_path: Path) -> None:
    case = toy_case()
    directory = run_of(tmp_path, case)
    metrics = finish(case, directory, tmp_path / "capture <1>", pictures=False)
    names = {path.name for path in directory.iterdir()}
    assert {"metrics.json", "report.html"} <= names
    assert not names & {"orbit.mp4", "mesh.glb", "previews"}
    parts = Parts((directory / "report.html").read_text())
    assert not parts.all("img")
    assert parts.all("table")
    assert metrics["latents"] == 1


def test_a_large_video_is_linked_not_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_plots: None
) -> None:
    assert LARGEST_VIDEO == 2 * 2**20
    monkeypatch.setattr("inv3d.report.html.LARGEST_VIDEO", 100)
    case = toy_case(3)
    directory = run_of(tmp_path, case)
    finish(case, directory, tmp_path / "capture <1>", pictures=True)
    parts = Parts((directory / "report.html").read_text())
    assert not parts.all("video")
    assert {"href": "orbit.mp4"} in parts.all("a")


def test_without_a_video_encoder_there_is_a_gif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_plots: None
) -> None:
    def refuse(*_: object) -> str:
        raise UsageError("MP4 needs PyAV")

    monkeypatch.setattr("inv3d.io.video._write_mp4", refuse)
    case = toy_case(3)
    directory = run_of(tmp_path, case)
    metrics = finish(case, directory, tmp_path / "capture <1>", pictures=True)
    assert (directory / "orbit.gif").is_file()
    assert not (directory / "orbit.mp4").exists()
    assert any("orbit.gif was written instead" in text for text in metrics["warnings"])


def test_a_head_without_surface_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_plots: None
) -> None:
    monkeypatch.setattr("inv3d.io.mesh.SURFACE_OPACITY", 0.5)
    case = toy_case(3)
    spec = replace(case.generator.spec, box=1e-6)
    case.generator.spec = spec
    directory = run_of(tmp_path, case)
    metrics = finish(case, directory, tmp_path / "capture <1>", pictures=True)
    assert any(text.startswith("no mesh: no surface") for text in metrics["warnings"])
    assert not (directory / "mesh.glb").exists()


def test_few_of_many_views_are_shown(tmp_path: Path, no_plots: None) -> None:
    case = toy_case(41)
    directory = run_of(tmp_path, case)
    finish(case, directory, tmp_path / "capture <1>", pictures=True)
    parts = Parts((directory / "report.html").read_text())
    cards = [image for image in parts.all("img") if image["alt"].startswith("target ")]
    assert len(cards) == finish_module.SHOWN_CHOSEN + finish_module.SHOWN_OTHERS


def test_the_title_says_what_was_edited() -> None:
    """An edited run isn't an inversion by an editor."""
    prior = ToyGenerator(ToyConfig()).spec.camera
    made = {name: Made("editor" if "gan" in name else "method", name) for name in
            ("e4e", "pti", "ganspace", "interfacegan")}  # fmt: skip
    for names, title in (
        ((), "inversion"),
        (("pti",), "pti inversion"),
        (("e4e", "pti"), "pti inversion"),
        (("pti", "ganspace"), "ganspace edit of the pti inversion"),
        (("pti", "ganspace", "ganspace", "interfacegan"),
         "ganspace and interfacegan edit of the pti inversion"),
    ):  # fmt: skip
        history = tuple(made[name] for name in names)
        found = Inversion(torch.zeros(1, 4, 8), prior.front(), "toy", "", history=history)
        assert title_of(found, "") == title
        assert title_of(found, "grace.png") == f"{title} of grace.png"


class Counting(ToyGenerator):
    """The toy, which counts the cameras that it renders from."""

    rendered = 0

    def render(self, scene: Scene, camera: Camera, **options: Any) -> Rendering:
        self.rendered += len(camera)
        return super().render(scene, camera, **options)


# a sweep comes back the way it went; the strip has 7 cameras of a turn, and the one behind at +180°
@pytest.mark.parametrize(("yaw_deg", "wanted"), [(90.0, 37 - 3), (180.0, 72 - 7)])
def test_a_turntable_renders_every_camera_once(yaw_deg: float, wanted: int) -> None:
    case, generator = toy_case(latents=4, motion=0.5), Counting(ToyConfig())
    prior = replace(generator.spec.camera, yaw_deg=yaw_deg)
    generator.spec = replace(generator.spec, camera=prior)
    path = orbit_path(default_orbit(prior), prior, 72)
    known = strip(prior), [view.image for view in novel_views(generator, case.inversion)]
    generator.rendered = 0
    frames = orbit_frames(generator, case.inversion, path, known)
    assert generator.rendered == wanted
    scenes = case.inversion.scene_for(generator, path)
    plain = pics.colour_frames(generator.render(scenes, path).require("image"))
    for frame, expected in zip(frames, plain, strict=True):
        np.testing.assert_allclose(frame.astype(float), expected, atol=1)
