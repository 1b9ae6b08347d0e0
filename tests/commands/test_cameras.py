"""Cameras that are rigid but wrong: every command says so once, before anything is wasted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from inv3d.cli import main
from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.io.cameras import read_cameras, write_labels
from inv3d.runs.prepare import Request, prepare
from inv3d.testing.toy import ToyConfig, ToyGenerator
from tests import foreign
from tests.captures import noise_image, png, write
from tests.commands.run_case import make_run
from tests.commands.run_cli import QUICK, fails, registered, run

LABELS = Path(__file__).parents[1] / "cameras"
INVERT = "is the matrix world to camera? invert it"
BACKWARDS, DOWN, BEYOND = "world-to-camera", "upside-down-axes", "camera-beyond-the-rays"


def capture(name: str, folder: Path, size: int = 128) -> Path:
    """A capture with labels as users had them, whose pictures are noise."""
    content = (LABELS / f"{name}.json").read_bytes()
    names = [pair[0] for pair in json.loads(content)["labels"]]
    files = {image: png(noise_image(i, size)) for i, image in enumerate(names)}
    return write(files | {"dataset.json": content}, folder)


def notices(name: str, folder: Path) -> list[str]:
    """What `3dinv run` warns of before its first step with the embedded generator."""
    source = str(capture(name, folder))
    return prepare(Request("wplus", "minihead", source, device="cpu")).notices


def test_world_to_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        notices(BACKWARDS, tmp_path)
    assert INVERT in str(error.value) and "one spot" in str(error.value)
    one = json.loads((tmp_path / "dataset.json").read_text())["labels"][:1]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": one}))
    for name in ("0001.png", "0002.png"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=r"label of 0000\.png: the head isn't in the picture"):
        prepare(Request("wplus", "minihead", str(tmp_path), device="cpu"))


def test_upside_down_axes_are_named(tmp_path: Path) -> None:
    (notice,) = notices(DOWN, tmp_path)
    assert notice.startswith("3 of 3 pictures have the head upside down: the camera's y axis")
    assert "flip x and y (multiply columns 1 and 2 of cam2world by -1)" in notice


def test_cameras_beyond_the_rays_are_named(tmp_path: Path) -> None:
    (notice,) = notices(BEYOND, tmp_path)
    assert "distance 3.30 from the origin, the rays run from 2.25 to 3.15" in notice
    assert "scale their positions (times 0.818) to 2.70" in notice


def test_nearly_orthogonal_labels_are_mended(tmp_path: Path) -> None:
    (notice,) = notices("nearly-orthogonal-labels", tmp_path)
    assert (
        "2 of 2 labels have a matrix that isn't quite a rotation (R^T R is off by up to" in notice
    )
    assert "0.015, 0002.png); the nearest rotation was taken" in notice


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield from registered(monkeypatch)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("toy")
def test_a_warning_is_printed_once_and_kept(tmp_path: Path) -> None:
    source = capture(DOWN, tmp_path / "heads", size=32)
    result = run("--input", source, *QUICK, "--out", "run", "--no-report")
    assert result.exit_code == 0, result.stderr
    assert (result.stderr + result.stdout).count("upside down") == 1
    for name in ("run.json", "metrics.json"):
        kept = json.loads((tmp_path / "run" / name).read_text())["warnings"]
        assert sum("upside down" in text for text in kept) == 1


@pytest.mark.usefixtures("toy")
def test_notices_count_the_pictures(tmp_path: Path) -> None:
    source = capture(DOWN, tmp_path / "heads", size=16)
    result = run("--input", source, *QUICK, "--out", "run", "--no-report")
    (line,) = [line for line in result.stderr.splitlines() if "enlarged" in line]
    assert line.endswith("0000.png: 16 pixels, enlarged to 32 (3 of 3 pictures)")


@pytest.mark.usefixtures("toy")
def test_rendering_and_evaluation_say_the_same(tmp_path: Path) -> None:
    made = make_run(tmp_path)
    picture = ("-o", tmp_path / "a.png", "--camera")
    fails(call("render", made, *picture, LABELS / f"{BACKWARDS}.json"), 2, INVERT)
    assert not (tmp_path / "a.png").exists()
    result = call("render", made, *picture, LABELS / f"{DOWN}.json")
    assert result.exit_code == 0 and result.stderr.count("upside down") == 1
    far = tmp_path / "far.json"
    camera, names = read_cameras(LABELS / f"{BEYOND}.json")
    matrices = camera.cam2world.clone()
    matrices[:, :3, 3] *= 3
    write_labels(far, Camera(matrices, camera.intrinsics), names)
    fails(call("render", made, *picture, far), 2, "nothing of it shows (0000.png: distance 9.90")

    fails(call("eval", made, "--input", capture(BACKWARDS, tmp_path / "w2c", 32)), 2, INVERT)
    result = call("eval", made, "--input", capture(DOWN, tmp_path / "down", 32))
    assert result.exit_code == 0 and result.stderr.count("upside down") == 1


@pytest.mark.usefixtures("toy")
def test_a_good_run_says_nothing(tmp_path: Path) -> None:
    made = make_run(tmp_path)
    picture = ("-o", tmp_path / "a.png")
    for arguments in (("--yaw-deg", 40), ("--camera", tmp_path / "capture" / "dataset.json")):
        result = call("render", made, *picture, *arguments)
        assert result.exit_code == 0 and result.stderr == ""


def test_imported_cameras_are_checked_too(tmp_path: Path) -> None:
    np.save(tmp_path / "face_ws.npy", foreign.latents().numpy())
    yaw = torch.tensor([0.8])
    camera = ToyGenerator(ToyConfig()).spec.camera.orbit(yaw)
    camera = Camera(camera.cam2world.inverse(), foreign.cameras().intrinsics)
    np.save(tmp_path / "face_cam.npy", camera.labels().numpy())
    arguments = ("convert", tmp_path, "--as-run", tmp_path / "run", "--weights", foreign.TINY)
    fails(call(*arguments), 2, INVERT)
    assert not (tmp_path / "run").exists()
    np.save(tmp_path / "face_cam.npy", _flipped(foreign.cameras()).labels().numpy())
    result = call(*arguments)
    assert result.exit_code == 0 and result.stderr.count("upside down") == 1
    assert "1 of 1 pictures have the head upside down: the camera's y axis" in result.stderr


def _flipped(camera: Camera) -> Camera:
    return Camera(camera.cam2world * torch.tensor([-1.0, -1.0, 1.0, 1.0]), camera.intrinsics)
