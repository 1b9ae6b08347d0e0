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
        (None, "intrinsics: expected 3x3 finite numbers, found None; leave that picture out"),
        ([[1, 2, 3]], "intrinsics: expected 3x3 finite numbers, found 1x3"),
        ([[1, 0, float("nan")]] * 3, "3x3 finite numbers, found nan in row 1, column 3"),
    ],
)
def test_others_are_named(tmp_path: Path, intrinsics: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        open_capture(capture(tmp_path, document(intrinsics)))
    assert message in str(error.value) and "cameras.json: 0.png" in str(error.value)


def test_an_entry_without_a_pose_is_named(tmp_path: Path) -> None:
    facts = document()
    del facts["1.png"]["pose"]
    with pytest.raises(InputError, match=r"json: 1\.png: pose: expected 4x4 finite numbers, found"):
        open_capture(capture(tmp_path, facts))


def test_a_failed_fit_is_named(tmp_path: Path) -> None:
    message = r"json: 1\.png: expected pose and intrinsics, found None; leave that picture out"
    with pytest.raises(InputError, match=message):
        open_capture(capture(tmp_path, document() | {"1.png": None}))


@pytest.mark.parametrize("broken", [None, {"pose": [[float("nan")] * 4] * 4, "intrinsics": 1}])
def test_cameras_of_pictures_that_arent_there_dont_matter(tmp_path: Path, broken: Any) -> None:
    found = open_capture(capture(tmp_path, document() | {"9.png": broken}))
    assert found.names == ("0.png", "1.png", "2.png")
    assert "1 of 4 labels have no image (9.png)" in found.notices["lost"]


def test_two_cameras_of_one_picture(tmp_path: Path) -> None:
    facts = document()
    with pytest.raises(InputError, match=r"cameras\.json: 0\.png has two labels; leave one out"):
        open_capture(capture(tmp_path, facts | {"./0.png": facts["1.png"]}))


def test_other_ways_to_write_them(tmp_path: Path) -> None:
    expected = open_capture(capture(tmp_path / "a", document())).camera
    focal = 2985.29 / 700
    square = [[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]]
    flat = document()
    for entry in flat.values():
        entry["pose"] = [n for row in entry["pose"] for n in row]
    for name, facts in (("b", document(square)), ("c", flat), ("d", {"cameras": flat})):
        found = open_capture(capture(tmp_path / name, facts)).camera
        torch.testing.assert_close(found.labels(), expected.labels())


def test_the_last_row_of_a_pose_may_be_missing(tmp_path: Path) -> None:
    expected = open_capture(capture(tmp_path / "a", document())).camera
    facts = document()
    for entry in facts.values():
        entry["pose"] = entry["pose"][:3]
    found = open_capture(capture(tmp_path / "b", facts)).camera
    torch.testing.assert_close(found.labels(), expected.labels())


@pytest.mark.parametrize("labels", [dict, list])
def test_they_may_be_called_labels(tmp_path: Path, labels: Any) -> None:
    expected = open_capture(capture(tmp_path / "a", document())).camera
    pairs = document() if labels is dict else [list(pair) for pair in document().items()]
    for name, facts in (("cameras.json", pairs), ("dataset.json", {"labels": pairs})):
        folder = capture(tmp_path / name, facts)
        (folder / "cameras.json").rename(folder / name)
        torch.testing.assert_close(open_capture(folder).camera.labels(), expected.labels())


@pytest.mark.parametrize(
    ("facts", "called"), [(document(), "cameras.json"), ({"frames": [{}]}, "transforms.json")]
)
def test_under_another_name_they_are_said(tmp_path: Path, facts: Any, called: str) -> None:
    capture(tmp_path, facts)
    (tmp_path / "cameras.json").rename(tmp_path / "cams.json")
    found = open_capture(tmp_path)
    assert not found.posed
    assert (
        f"cams.json: isn't read; to take its cameras, call it {called}" in (found.notices["unread"])
    )


def test_labels_come_before_them(tmp_path: Path) -> None:
    path = capture(tmp_path, document("broken"))
    labels = dict(zip(document(), cameras(2.7).labels().tolist(), strict=True))
    write({"dataset.json": json.dumps({"labels": labels}).encode()}, path)
    assert not open_capture(path).notices
