"""Which inputs of a run are prepared first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from inv3d.photos.raw import is_raw, options_for
from tests.captures import labels_of, ring


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.heic", "c.mp4"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "method", "camera", "raw"),
    [
        ("c.mp4", "wplus", None, True),
        ("c.mp4", "poseopt", None, True),
        ("missing.mp4", "wplus", None, True),
        ("a.jpg", "wplus", None, True),
        ("b.heic", "wplus", None, True),
        ("a.jpg", "wplus", "auto", False),
        ("a.jpg", "poseopt", None, False),
        ("missing.jpg", "wplus", None, False),
        ("", "wplus", None, True),
        ("", "wplus", "auto:landmarks", False),
        ("", "poseopt", None, False),
        ("missing", "wplus", None, False),
    ],
)
def test_videos_always_and_pictures_where_cameras_are_needed(
    folder: Path, name: str, method: str, camera: str | None, raw: bool
) -> None:
    assert is_raw(str(folder / name), method, camera) == raw


def test_samples_and_captures_are_read_as_they_are(tmp_path: Path) -> None:
    assert not is_raw("sample:static", "wplus", None)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    labels = tmp_path / "dataset.json"
    labels.write_text(json.dumps({"labels": [["a.png", labels_of(ring(1))[0]]]}))
    assert not is_raw(str(tmp_path), "wplus", None)
    labels.write_text("{")  # who reads it says what's wrong
    assert not is_raw(str(tmp_path), "wplus", None)
    labels.unlink()
    assert is_raw(str(tmp_path), "wplus", None)
    (tmp_path / "a.png").unlink()
    assert not is_raw(str(tmp_path), "wplus", None)
    (tmp_path / "a.mov").touch()
    assert is_raw(str(tmp_path), "wplus", None)


def test_masks_in_the_folder_are_taken(tmp_path: Path) -> None:
    assert options_for(str(tmp_path), "minihead", {}).masks is None
    (tmp_path / "masks").mkdir()
    assert options_for(str(tmp_path), "minihead", {}).masks == tmp_path / "masks"
