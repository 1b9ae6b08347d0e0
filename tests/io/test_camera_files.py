"""Camera sets: both formats come back as they were, in the axes that other programs expect."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from inv3d.core.camera import Camera, orbit
from inv3d.core.errors import InputError
from inv3d.io.cameras import read_cameras, write_labels, write_transforms

NAMES = ("a.png", "b.png", "c.png")
SIZES = ((512, 512), (512, 712), (712, 512))


def cameras() -> Camera:
    yaw, pitch = torch.tensor([-0.7, 0.0, 1.1]), torch.tensor([0.2, 0.0, -0.3])
    return orbit(yaw, pitch, radius=2.7, focal=4.2)


@pytest.mark.parametrize("form", ["labels", "transforms"])
def test_cameras_come_back(tmp_path: Path, form: str) -> None:
    path = tmp_path / "new" / "cameras.json"
    if form == "labels":
        write_labels(path, cameras(), NAMES)
    else:
        write_transforms(path, cameras(), NAMES, SIZES)
    read, names = read_cameras(path)
    assert names == NAMES
    torch.testing.assert_close(read.labels(), cameras().labels(), atol=1e-5, rtol=1e-5)


def test_transforms_have_opengl_axes_and_pixels(tmp_path: Path) -> None:
    write_transforms(tmp_path / "t.json", cameras(), NAMES, SIZES)
    frame = json.loads((tmp_path / "t.json").read_text())["frames"][1]
    # the frontal camera: at +z, looks along -z, which is its own -z axis; its y axis points up
    expected = torch.eye(4)
    expected[2, 3] = 2.7
    torch.testing.assert_close(torch.tensor(frame["transform_matrix"]), expected)
    assert frame["fl_x"] == pytest.approx(4.2 * 512, rel=1e-6)
    assert (frame["cx"], frame["cy"], frame["w"], frame["h"]) == (256, 356, 512, 712)


def test_a_field_of_view_is_understood(tmp_path: Path) -> None:
    matrix = torch.eye(4)
    matrix[2, 3] = 2.7
    document = {
        "camera_angle_x": math.radians(30),
        "frames": [{"transform_matrix": matrix.tolist()}],
    }
    (tmp_path / "t.json").write_text(json.dumps(document))
    camera, names = read_cameras(tmp_path / "t.json")
    assert float(camera.yaw) == pytest.approx(0, abs=1e-6)
    assert float(camera.intrinsics[0, 0, 0]) == pytest.approx(0.5 / math.tan(math.radians(15)))
    assert names == ("0000",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        (
            '{"frames": [{"transform_matrix": [[1, 0], [0, 1]], "camera_angle_x": 1}]}',
            "expected 4x4",
        ),
        ('{"frames": [{}]}', "expected transform_matrix"),
        ('{"frames": [7]}', "expected transform_matrix"),
        ('{"labels": []}', "no labels"),
    ],
)
def test_broken_files_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_cameras(path)
    assert "c.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"", "an empty file"),
        (b"0.1, 0.2, 0.3\n", "text"),
    ],
)
@pytest.mark.parametrize("name", ["c.json", "c.txt"])
def test_files_of_other_kinds_are_named(
    tmp_path: Path, content: bytes, kind: str, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"--camera .*: is {kind}.*; expected dataset\.json"):
        read_cameras(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: can't be read"):
        read_cameras(tmp_path / "none.json")
