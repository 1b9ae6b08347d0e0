"""Raw cameras of a pre-processing become labels, or are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inv3d.core.camera import Camera, orbit
from inv3d.core.errors import InputError
from inv3d.io.cameras import read_cameras
from inv3d.io.dataset import open_capture
from tests.captures import noise_image, png, write

INTRINSICS = [[2985.29, 0, 512.0], [0, 2985.29, 512.0], [0, 0, 1.0]]


def cameras(radius: float) -> Camera:
    return orbit(torch.tensor([0.5, 0.0, -0.6]).double(), 0.1, radius=radius, focal=2985.29 / 700)


def document(intrinsics: Any = INTRINSICS) -> dict[str, Any]:
    poses = cameras(2.78).cam2world.tolist()
    return {f"{i}.png": {"intrinsics": intrinsics, "pose": p} for i, p in enumerate(poses)}


def capture(folder: Path, facts: Any) -> Path:
    files = {f"{i}.png": png(noise_image(i)) for i in range(3)}
    return write(files | {"cameras.json": json.dumps(facts).encode()}, folder)


def test_they_become_labels(tmp_path: Path) -> None:
    path = capture(tmp_path, document())
    found = open_capture(path)
    torch.testing.assert_close(found.camera.labels(), cameras(2.7).labels().float())
    assert "cameras.json: raw cameras, made into labels: focal" in found.notices["raw"]
    with pytest.warns(UserWarning, match="raw cameras, made into labels"):
        camera, names = read_cameras(path / "cameras.json")
    assert names == ("0.png", "1.png", "2.png")
    torch.testing.assert_close(camera.labels(), found.camera.labels())


@pytest.mark.parametrize(
    ("intrinsics", "message"),
    [
        ([[1000, 0, 256], [0, 1000, 256], [0, 0, 1]], "focal length 1000, expected 2985.29"),
        ([[1, 2], [3, 4]], "intrinsics: expected 3x3 finite numbers"),
        (None, "intrinsics: expected 3x3 finite numbers"),
    ],
)
def test_others_are_named(tmp_path: Path, intrinsics: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        open_capture(capture(tmp_path, document(intrinsics)))
    assert message in str(error.value) and "cameras.json: 0.png" in str(error.value)


def test_labels_come_before_them(tmp_path: Path) -> None:
    path = capture(tmp_path, document("broken"))
    labels = dict(zip(document(), cameras(2.7).labels().tolist(), strict=True))
    write({"dataset.json": json.dumps({"labels": labels}).encode()}, path)
    assert not open_capture(path).notices
