"""Mirror images beside pictures aren't views of the same head."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inv3d.io.dataset import open_capture
from inv3d.io.mirrors import is_mirrored, named_mirrors
from tests.captures import labels_of, noise_image, png, ring, write

LABELS = labels_of(ring(4, 50))[:3]
SIGNS = np.array([[1, -1, -1, -1], [-1, 1, 1, 1], [-1, 1, 1, 1], [1, 1, 1, 1]])


def mirrored(label: list[float]) -> list[float]:
    return [*(np.array(label[:16]) * SIGNS.flatten()).tolist(), *label[16:]]


def capture(folder: Path, labels: dict[str, list[float]]) -> Path:
    files = {name: png(noise_image(i)) for i, name in enumerate(labels)}
    return write(files | {"dataset.json": json.dumps({"labels": labels}).encode()}, folder)


def test_they_are_left_out_with_one_notice(tmp_path: Path) -> None:
    pictures = {f"{i}.png": label for i, label in enumerate(LABELS)}
    mirrors = {f"{i}_mirror.png": mirrored(label) for i, label in enumerate(LABELS)}
    found = open_capture(capture(tmp_path, mirrors | pictures))
    assert found.names == tuple(pictures)
    torch.testing.assert_close(found.camera.labels().double(), torch.tensor(LABELS).double())
    assert "3 of 6 pictures are mirror images and left out" in found.notices["mirrored"]
    assert "to take them, rename them and their labels" in found.notices["mirrored"]


@pytest.mark.parametrize(
    "form",
    [
        *("{}_flip_lr", "{}_fliph", "{}-horizontal_flip", "{}_hf", "{}_m", "{}Mirror", "{}_flip1"),
        *("flipped{}", "{} (mirrored)", "m/{}"),
    ],
)
def test_whatever_they_are_called(tmp_path: Path, form: str) -> None:
    pictures = {f"{i:02d}.png": label for i, label in enumerate(LABELS)}
    mirrors = {f"{form.format(f'{i:02d}')}.png": mirrored(label) for i, label in enumerate(LABELS)}
    found = open_capture(capture(tmp_path, mirrors | pictures))
    assert found.names == tuple(pictures)
    assert "3 of 6 pictures are mirror images and left out" in found.notices["mirrored"]


def test_views_from_both_sides_arent_mirror_images(tmp_path: Path) -> None:
    # another camera stands where one is in the mirror; others of the same addition don't
    labels = {
        "a.png": LABELS[0], "a_b.png": mirrored(LABELS[0]),
        "c.png": LABELS[1], "c_b.png": LABELS[0],
        "1.png": labels_of(ring(3, 0))[1], "12.png": labels_of(ring(3, 0))[1],
    }  # fmt: skip
    found = open_capture(capture(tmp_path, labels))
    assert len(found) == 6 and not found.notices


def test_they_need_no_labels(tmp_path: Path) -> None:
    pictures = {f"{i}.png": label for i, label in enumerate(LABELS)}
    write({f"{i}_mirror.png": png(noise_image(i)) for i in range(3)}, capture(tmp_path, pictures))
    found = open_capture(tmp_path)
    assert found.names == tuple(pictures)
    assert "3 of 6 pictures are mirror images without a label" in found.notices["unlabelled"]


def test_the_name_alone_isnt_enough(tmp_path: Path) -> None:
    labels = {"0.png": LABELS[0], "0_mirror.png": LABELS[1]}
    found = open_capture(capture(tmp_path, labels))
    assert found.names == ("0.png", "0_mirror.png")
    assert "1 of 2 pictures are mirror images by name, but not by" in found.notices["doubtful"]


def test_the_camera_alone_isnt_enough(tmp_path: Path) -> None:
    labels = {"0.png": LABELS[0], "1.png": mirrored(LABELS[0]), "2_mirror.png": LABELS[2]}
    found = open_capture(capture(tmp_path, labels))
    assert len(found) == 3 and not found.notices


def test_the_label_of_the_picture_is_enough(tmp_path: Path) -> None:
    labels = {"0.png": LABELS[0], "0_mirror.png": mirrored(LABELS[0]), "1.png": LABELS[1]}
    capture(tmp_path, labels)
    (tmp_path / "0.png").unlink()
    found = open_capture(tmp_path)
    assert found.names == ("1.png",)
    assert "1 of 2 pictures are mirror images and left out" in found.notices["mirrored"]


def test_where_all_are_mirror_images_they_are_taken(tmp_path: Path) -> None:
    pictures = {f"{i}.png": label for i, label in enumerate(LABELS)}
    mirrors = {f"{i}_mirror.png": mirrored(label) for i, label in enumerate(LABELS)}
    capture(tmp_path, mirrors | pictures)
    for name in pictures:
        (tmp_path / name).unlink()
    found = open_capture(tmp_path)
    assert found.names == tuple(mirrors)
    assert "all 3 pictures are mirror images (0_mirror.png)" in found.notices["all_mirrored"]


@pytest.mark.parametrize(
    "name", ["mirror/a.png", "images_flip/a.png", "images/mirror/a.png", "flipped_a.png"]
)
def test_folders_and_prefixes_name_mirror_images(name: str) -> None:
    for picture in ("a.png", "images/a.jpg"):
        assert named_mirrors([name, picture]) == {name: picture}


def test_a_folder_called_so_has_pictures_of_its_own() -> None:
    names = ["mirror/a.png", "mirror/a_mirror.png", "a.png", "mirrors.png"]
    assert named_mirrors(names) == {"mirror/a.png": "a.png", "mirror/a_mirror.png": "mirror/a.png"}


@pytest.mark.parametrize(
    "name",
    ["a_mirror.jpg", "a-flip.png", "a_FLIPPED.png", "a_mirrored.png", "a.mirror.png", "a_hflip"],
)
def test_names_of_mirror_images(name: str) -> None:
    assert named_mirrors([name, "a.png", "mirror.png", "b_mirror.png"]) == {name: "a.png"}


def test_a_frontal_camera_is_its_own_mirror_image() -> None:
    assert is_mirrored(mirrored(LABELS[0]), LABELS[0])
    assert not is_mirrored(LABELS[0], LABELS[0])
    (front,) = labels_of(ring(1, 0))
    assert is_mirrored(front, front)
