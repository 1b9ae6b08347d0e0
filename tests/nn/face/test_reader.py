"""Faces are found, with their poses, and false landmarks are noticed."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from inv3d.nn.face.quality import eye_opening, face_luma, sharpness
from inv3d.nn.face.reader import Face, FaceReader
from tests.faces import as_bytes, heads, photograph


@lru_cache(maxsize=1)
def reader() -> FaceReader:
    return FaceReader()


def pixels(name: str) -> Tensor:
    image = Image.open(photograph(name)).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read(picture: Tensor, **options: object) -> Face:
    face = reader()(picture, **options)
    assert face is not None
    return face


def test_yaws_of_rendered_heads() -> None:
    capture = heads()
    for row in range(1, 10):
        face = read(as_bytes(capture.images[row]), turn=False)
        true = math.degrees(float(capture.camera.yaw[row]))
        assert face.doubt == "", true
        assert abs(math.degrees(face.pose.yaw) - true) < 7, true
        assert abs(math.degrees(face.pose.rough_yaw) - true) < 20, true


def test_smaller_parts_are_searched_only_for_more_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = reader().detector
    looked = []
    look = detector._look
    monkeypatch.setattr(
        detector, "_look", lambda picture, square: looked.append(square) or look(picture, square)
    )
    picture = pixels("astronaut.png")
    assert len(detector(picture)) == 1 and len(looked) == 1
    assert len(detector(picture, count=2)) == 1, "patches beside the face aren't faces"
    assert len(looked) > 9


def test_a_tilted_head_has_a_roll() -> None:
    picture = as_bytes(heads().images[5])
    straight = read(picture, turn=False).pose
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    turned = image.rotate(-20, Image.Resampling.BICUBIC, fillcolor="white")  # clockwise
    pose = read(torch.from_numpy(np.array(turned)).permute(2, 0, 1), turn=False).pose
    assert math.degrees(pose.roll - straight.roll) == pytest.approx(20, abs=3)
    assert math.degrees(pose.yaw - straight.yaw) == pytest.approx(0, abs=3)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_pictures_on_their_side_and_upside_down(quarters: int) -> None:
    face = read(torch.rot90(pixels("grace_hopper.jpg"), quarters, (1, 2)))
    assert face.doubt == ""
    roll = math.degrees(face.pose.roll)
    assert math.cos(math.radians(roll + 90 * quarters)) > 0.99, roll
    assert abs(math.degrees(face.pose.yaw)) < 8


@pytest.mark.parametrize(("row", "angle"), [(None, 0), (None, 180), (None, 90), (5, 150), (5, 240)])
def test_faces_found_the_wrong_way_up_lose_to_the_right_one(row: int | None, angle: int) -> None:
    """The detector sees some faces upside down, and fits landmarks there that are nearly true."""
    colour = pixels("astronaut.png") if row is None else as_bytes(heads().images[row])
    upright = read(colour).found.square.roll
    picture = colour[1:2].expand(3, -1, -1) if row is None else colour
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    turned = image.rotate(angle, expand=True, fillcolor=(200, 200, 200))
    face = read(torch.from_numpy(np.array(turned)).permute(2, 0, 1))
    apart = face.found.square.roll - upright + math.radians(angle)
    assert face.doubt == "" and math.cos(apart) > 0.99


def test_the_way_up_that_is_expected_is_looked_at_alone_where_asked() -> None:
    side = torch.rot90(pixels("grace_hopper.jpg"), 1, (1, 2))
    face = read(side, roll=-math.pi / 2, turn=False)
    assert face.doubt == "" and abs(face.pose.roll + math.pi / 2) < 0.2


@pytest.mark.parametrize("name", ["astronaut.png", "grace_hopper.jpg"])
def test_photographs(name: str) -> None:
    face = read(pixels(name))
    assert face.doubt == "" and face.count == 1
    assert abs(math.degrees(face.pose.yaw)) < 8 and abs(math.degrees(face.pose.pitch)) < 12


def test_a_profile_whose_landmarks_are_false_is_doubted() -> None:
    face = read(pixels("camera.png"))
    assert face.found.presence > 0.8, "the network itself is sure"
    assert "landmarks are false" in face.doubt


def test_two_faces_are_ranked_by_size() -> None:
    one = as_bytes(heads().images[5])
    other = torch.nn.functional.interpolate(one[None].float(), size=(80, 80))[0].byte()
    canvas = torch.full((3, 128, 256), 255, dtype=torch.uint8)
    canvas[:, :, :128] = one
    canvas[:, 20:100, 150:230] = other
    large, small = read(canvas), read(canvas, rank=2)
    assert large.count == small.count == 2
    assert large.detection.square.x < 128 < small.detection.square.x
    assert read(canvas, near=small.detection.square).detection.square.x > 128


@pytest.mark.parametrize("size", [(4, 4), (64, 64), (200, 30)])
def test_no_face(size: tuple[int, int]) -> None:
    assert reader()(torch.full((3, *size), 90, dtype=torch.uint8)) is None


def test_blur_and_closed_eyes_show() -> None:
    picture = as_bytes(heads().images[5])
    face = read(picture, turn=False)
    brightness = face_luma(picture, face.found)
    soft = torch.nn.functional.avg_pool2d(brightness[None], 7, 1, 3)[0]
    assert sharpness(soft) < 0.3 * sharpness(brightness)
    opened = eye_opening(picture, face.found, brightness, face.pose.yaw)
    lids = picture.float()
    for corners in ((33, 133), (263, 362)):
        x, y = face.found.points[list(corners), :2].mean(0).round().int().tolist()
        lids[:, y - 5 : y + 6, x - 9 : x + 10] = picture[:, 75:76, 64:65].float()  # skin
    closed = eye_opening(lids.byte(), face.found, brightness, face.pose.yaw)
    assert closed < 0.4 * opened
