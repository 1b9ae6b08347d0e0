"""`3dinv export`: formats, options, cameras, exporters of plugins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from inv3d.commands.export import command
from inv3d.core.camera import Camera
from inv3d.core.inversion import Inversion
from inv3d.core.registry.hooks import manager
from inv3d.core.registry.hookspecs import hookimpl
from inv3d.io.cameras import read_cameras, write_labels
from inv3d.io.formats import MESH_FORMATS
from inv3d.report.pictures import save_png
from tests.captures import noise_image
from tests.commands.run_case import answer, call, fault, good, imports_nothing_heavy, make_run
from tests.toy_runs import toy_case, toy_registered, tuned, write_capture, write_run


@pytest.fixture(autouse=True)
def toy_plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with toy_registered(monkeypatch):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("export"), latents=4, motion=0.4)


@pytest.mark.parametrize("form", MESH_FORMATS)
def test_every_format_opens(run: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"head.{form}"
    facts = answer(command, run, "-o", out, "--resolution", 32)
    loaded = next(iter(trimesh.load_scene(out, process=False).geometry.values()))
    assert len(loaded.faces) == facts["faces"] > 100
    assert abs(loaded.bounds - facts["bounds"]).max() < 1e-4
    assert abs(loaded.bounds).max() < 0.62


def test_the_format_can_be_given_by_name(run: Path, tmp_path: Path) -> None:
    good(command, run, "-o", tmp_path / "head.bin", "--format", "ply", "--resolution", 24)
    assert (tmp_path / "head.bin").read_bytes().startswith(b"ply")


def test_without_a_name_it_goes_into_the_run(run: Path) -> None:
    good(command, run, "--resolution", 24)
    assert (run / "mesh.glb").read_bytes().startswith(b"glTF")


def test_options_change_the_mesh(run: Path, tmp_path: Path) -> None:
    def measured(*options: object) -> dict[str, Any]:
        return answer(command, run, "-o", tmp_path / "a.ply", "--resolution", 32, *options)

    plain = measured()
    assert measured() == plain
    assert measured("--level", 20)["bounds"] != plain["bounds"]
    assert measured("--smooth", 3)["bounds"] != plain["bounds"]
    assert measured("--level", 12, "--all-components")["faces"] >= measured("--level", 12)["faces"]
    assert measured("--yaw-deg", 60)["bounds"] != plain["bounds"]


def test_cameras_that_the_method_found_come_with_it(run: Path, tmp_path: Path) -> None:
    found = shutil.copytree(run.parent, tmp_path / "found") / run.name
    inversion = Inversion.load(found)
    label = inversion.cameras.labels()[1]
    replace(inversion, poses={"view003.png": label}).save(found)
    folder = tmp_path / "cameras"
    arguments = ("-o", tmp_path / "a.ply", "--resolution", 24, "--cameras", folder)
    for path in answer(command, found, *arguments)["cameras"]:
        camera, names = read_cameras(Path(path))
        assert list(names) == ["view003.png"]
        torch.testing.assert_close(camera.labels()[0], label, atol=1e-5, rtol=1e-5)


def test_what_a_file_of_latents_lacks_is_said(run: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "moved")
    found = Inversion.load(moved)
    offset = {"centres": torch.zeros(1, 8, 3)}
    replace(found, offset=offset).save(moved)
    result = call(command, moved, "-o", tmp_path / "a.npz")
    assert "note: the run also has an offset of centres, which isn't in the file" in result.stderr
    facts = answer(command, moved, "-o", tmp_path / "b.npz")
    assert facts["offset"] == ["centres"]


def test_cameras_that_are_there_stay(run: Path, tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text("mine")
    arguments = (run, "-o", tmp_path / "a.ply", "--cameras")
    assert "has a transforms.json already, which stays" in fault(command, *arguments, tmp_path)
    assert "is a file; give a folder" in fault(command, *arguments, tmp_path / "transforms.json")
    assert [path.name for path in tmp_path.iterdir()] == ["transforms.json"]


def test_cameras_come_with_it_on_request(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cameras"
    facts = answer(command, run, "-o", tmp_path / "a.ply", "--resolution", 24, "--cameras", folder)
    assert [Path(path).name for path in facts["cameras"]] == ["dataset.json", "transforms.json"]
    truth, names = read_cameras(run.parent / "capture" / "dataset.json")
    for path in facts["cameras"]:
        camera, read = read_cameras(Path(path))
        assert read == names
        torch.testing.assert_close(camera.labels(), truth.labels(), atol=1e-5, rtol=1e-5)


def test_frames_name_the_pictures_where_they_lie(tmp_path: Path) -> None:
    """Nerfstudio looks for them from the file's folder; labels may leave images/ out."""
    case = tuned(toy_case(judges={}))
    capture = write_capture(case.capture, tmp_path / "capture")
    (capture / "images").mkdir()
    for name in case.capture.names:
        (capture / name).rename(capture / "images" / name)
    run = write_run(case, tmp_path / "run", capture)
    good(command, run, "-o", tmp_path / "a.ply", "--resolution", 24, "--cameras", tmp_path / "out")
    frames = json.loads((tmp_path / "out" / "transforms.json").read_text())["frames"]
    paths = [frame["file_path"] for frame in frames]
    assert paths == [f"images/{name}" for name in case.capture.names]
    assert all((capture / path).is_file() for path in paths)


def enlarged(path: Path, width: int) -> None:
    """Make a picture 96 pixels high, with black at its sides."""
    with Image.open(path) as picture:
        square = picture.resize((96, 96), Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (width, 96))
    sheet.paste(square, ((width - 96) // 2, 0))
    sheet.save(path)


def test_pixels_of_cameras_are_those_of_the_pictures(tmp_path: Path) -> None:
    """Of each picture's own, while the toy generator has 32 a side."""
    case = tuned(toy_case(judges={}))
    capture = write_capture(case.capture, tmp_path / "capture")
    widths = dict(zip(case.capture.names, (130, *[96] * len(case.capture)), strict=False))
    for name, width in widths.items():
        enlarged(capture / name, width)
    run = write_run(case, tmp_path / "run", capture)
    good(command, run, "-o", tmp_path / "a.ply", "--resolution", 24, "--cameras", tmp_path / "out")
    written = tmp_path / "out" / "transforms.json"
    truth = case.capture.camera.labels()
    torch.testing.assert_close(read_cameras(written)[0].labels(), truth, atol=1e-5, rtol=1e-5)
    focal = float(case.capture.camera.intrinsics[0, 0, 0])
    for frame in json.loads(written.read_text())["frames"]:
        width = widths[frame["file_path"]]
        assert (frame["w"], frame["h"]) == (width, 96)
        assert (frame["cx"], frame["cy"]) == pytest.approx((width / 2, 48), rel=1e-5)
        assert (frame["fl_x"], frame["fl_y"]) == pytest.approx((96 * focal,) * 2, rel=1e-5)


def test_cameras_of_no_picture_are_for_the_generators_pixels(run: Path, tmp_path: Path) -> None:
    """Neither of one that isn't there, nor of one that is damaged and that the run doesn't read."""
    found = shutil.copytree(run.parent, tmp_path / "found") / run.name
    capture = found.parent / "capture"
    text = (found / "run.json").read_text()
    (found / "run.json").write_text(text.replace(str(run.parent), str(found.parent)))
    inversion = Inversion.load(found)
    camera = inversion.cameras[:1]
    (capture / "bad.png").write_bytes(b"no picture")
    truth, names = read_cameras(capture / "dataset.json")
    write_labels(capture / "dataset.json", Camera.cat([truth, camera]), (*names, "bad.png"))
    label = camera.labels()[0]
    replace(inversion, poses={"elsewhere.png": label, "bad.png": label}).save(found)
    arguments = ("-o", tmp_path / "a.ply", "--resolution", 24, "--cameras", tmp_path / "out")
    result = call(command, found, *arguments)
    assert "note: 2 of 2 cameras have no picture that can be read (elsewhere" in result.stderr
    assert "are for 32 x 32 pixels, the generator's" in result.stderr
    frames = json.loads((tmp_path / "out" / "transforms.json").read_text())["frames"]
    assert [(frame["w"], frame["h"]) for frame in frames] == [(32, 32)] * 2


def test_exporters_of_plugins_are_offered(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def points(inversion: Any, generator: Any, path: Path, **options: Any) -> None:
        path.write_text(json.dumps({"latents": len(inversion.ws), "name": generator.spec.name}))

    class Plugin:
        @hookimpl
        def inv3d_exporters(self) -> dict[str, Any]:
            return {"points": points, "nothing": lambda *_: None}

    found = manager()
    found.register(Plugin())
    monkeypatch.setattr("inv3d.core.registry.hooks.hooks", lambda: found)
    good(command, run, "-o", tmp_path / "a.points")
    assert json.loads((tmp_path / "a.points").read_text()) == {"latents": 4, "name": "toy"}
    good(command, run, "-o", tmp_path / "a.glb", "--format", "points")
    idle = fault(command, run, "-o", tmp_path / "a.points", "--smooth", 3)
    said = "--smooth has no effect on format points; leave it out, or write a mesh (glb, obj, "
    assert idle.endswith(f"{said}ply, stl)")
    assert "did you mean 'points'" in fault(command, run, "-o", tmp_path / "a.pints")
    lost = fault(command, run, "-o", tmp_path / "a.nothing")
    assert "format nothing: its exporter wrote nothing at" in lost


def test_a_plugin_that_raises_is_named_and_left_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        @hookimpl
        def inv3d_exporters(self) -> dict[str, Any]:
            raise RuntimeError("no licence")

    class Good:
        @hookimpl
        def inv3d_exporters(self) -> dict[str, Any]:
            return {"dots": lambda inversion, generator, path, **_: path.write_text(".")}

    found = manager()
    found.register(Broken(), "broken")
    found.register(Good(), "good")
    monkeypatch.setattr("inv3d.core.registry.hooks.hooks", lambda: found)
    result = call(command, run, "-o", tmp_path / "a.dots")
    assert result.exit_code == 0, result.output
    assert "warning: hooks 'broken' failed in inv3d_exporters (RuntimeError: no" in result.stderr
    assert (tmp_path / "a.dots").read_text() == "."


def test_cameras_of_a_capture_that_changed_are_refused(run: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(run, changed)
    shutil.copytree(run.parent / "capture", tmp_path / "capture")
    text = (changed / "run.json").read_text()
    (changed / "run.json").write_text(text.replace(str(run.parent), str(tmp_path)))
    save_png(tmp_path / "capture" / "view003.png", noise_image(1, 32))
    arguments = (changed, "-o", tmp_path / "a.ply", "--cameras", tmp_path / "cameras")
    assert "put them back, or leave --cameras out" in fault(command, *arguments)
    (tmp_path / "capture").rename(tmp_path / "elsewhere")
    said = f"{changed}: its capture {tmp_path / 'capture'} isn't there; put it back, or leave --cam"
    assert fault(command, *arguments).startswith(said)
    assert not (tmp_path / "a.ply").exists()


def test_latents_for_other_tools(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "latents.npz"
    facts = answer(command, run, "-o", out)
    assert (facts["format"], facts["latents"], facts["tuned"]) == ("eg3d-npz", 4, True)
    inversion = Inversion.load(run)
    with np.load(out) as file:
        assert np.array_equal(file["ws"][:, 0], inversion.ws.numpy())
        assert np.array_equal(file["cs"][:, 0], inversion.cameras.labels().float().numpy())
        assert file["w"].shape == (1, *inversion.ws.shape[1:])
    assert "isn't in the file" in call(command, run, "-o", out).stderr
    good(command, run, "--format", "eg3d-npz")
    assert (run / "projected_w.npz").read_bytes()[:2] == b"PK"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "a.gltb"), "did you mean 'glb'"),
        (("-o", "a.ply", "--format", "stll"), "did you mean 'stl'"),
        (
            ("-o", "h.glb", "--format", "ply"),
            "h.glb: ends in glb, --format says ply; leave --format out, or let the name",
        ),
        (("-o", "q.PLY", "--format", "npz"), "q.PLY: ends in ply, --format says eg3d-npz; leave"),
        (("-o", "q.npz", "--format", "stl"), "q.npz: ends in npz, --format says stl; leave"),
        *(
            (("-o", "q.npz", *words), f"q.npz: {option} has no effect on format eg3d-npz; leave it")
            for option, words in {
                "--smooth": ("--smooth", "0"),
                "--resolution": ("--resolution", "128"),
                "--level": ("--level", "3"),
                "--yaw-deg": ("--yaw-deg", "0"),
                "--largest-component": ("--all-components",),
            }.items()
        ),
        (("-o", "a.ply", "--level", "1e9", "--resolution", "16"), "give a lower --level"),
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


def test_a_lost_generator_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "inv3d.rundir.opening.registry",
        lambda: SimpleNamespace(load=_unknown),
    )
    assert "made with generator 'toy'" in fault(command, run, "--resolution", 16)


def _unknown(kind: str, name: str) -> None:
    from inv3d.core.errors import PluginError

    raise PluginError(f"unknown generator '{name}'")


def test_import_is_light() -> None:
    assert imports_nothing_heavy("inv3d.commands.export")
