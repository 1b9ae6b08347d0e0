"""`transforms.json`: portrait and landscape, per frame, moved, and what can't be used."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inv3d.core.errors import InputError
from inv3d.io.cameras import read_cameras
from inv3d.io.dataset import open_capture
from inv3d.io.transforms import flipped
from tests.captures import content, noise_image, png, ring, write

FOCAL = 2.13


def document(names: list[str] | None = None, **facts: Any) -> dict[str, Any]:
    """A document of the ring's cameras for portrait pictures of 108 x 192 pixels."""
    names = names or [f"./images/view{i}.png" for i in range(4)]
    matrices = flipped(ring(len(names)).cam2world).tolist()
    frames = [
        {"file_path": name, "transform_matrix": matrix}
        for name, matrix in zip(names, matrices, strict=True)
    ]
    size = {"w": 108, "h": 192, "fl_x": FOCAL * 108, "fl_y": FOCAL * 108, "cx": 54, "cy": 96}
    return {**size, **facts, "frames": frames}


def saved(folder: Path, facts: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "transforms.json").write_text(json.dumps(facts))
    return folder / "transforms.json"


def portrait(seed: int) -> bytes:
    return png(noise_image(seed, 192)[:, 42:150])


def capture(folder: Path, facts: Any, count: int = 4) -> Path:
    saved(folder, facts)
    return write({f"images/view{i}.png": portrait(i) for i in range(count)}, folder)


def said(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_cameras(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_with_it_is_a_capture(tmp_path: Path) -> None:
    found = open_capture(capture(tmp_path, document()))
    loaded = found.load(54)
    assert found.names == tuple(f"images/view{i}.png" for i in range(4))
    torch.testing.assert_close(found.camera.labels(), ring(4).labels().float())
    assert "108x192 pixels, cropped" in found.notices["cropped"]
    assert "(4 of 4 pictures); its camera with it" in found.notices["cropped"]
    square = noise_image(2, 192)[42:150, 42:150]
    expected = torch.from_numpy(square).permute(2, 0, 1).float() / 127.5 - 1
    assert float((loaded.images[2] - torch.nn.functional.avg_pool2d(expected, 2)).mean()) < 0.02


@pytest.mark.parametrize(
    ("size", "centre", "expected"),
    [((108, 192), (54, 96), (0.5, 0.5)), ((192, 108), (96, 54), (0.5, 0.5)),
     ((192, 108), (100, 50), (58 / 108, 50 / 108)), ((109, 192), (54.5, 96), (0.5, 55 / 109))],
)  # fmt: skip
def test_intrinsics_belong_to_the_square_in_the_middle(
    tmp_path: Path, size: tuple[int, int], centre: tuple[float, float], expected: tuple[float, ...]
) -> None:
    (w, h), (cx, cy) = size, centre
    focal = FOCAL * min(size)
    facts = document(w=w, h=h, cx=cx, cy=cy, fl_x=focal, fl_y=focal)
    camera, _ = read_cameras(saved(tmp_path, facts))
    assert camera.intrinsics[0, :2].flatten().tolist() == pytest.approx(
        [FOCAL, 0, expected[0], 0, FOCAL, expected[1]], rel=1e-6
    )


def test_a_field_of_view_is_that_of_the_picture(tmp_path: Path) -> None:
    facts = document(camera_angle_x=math.radians(30))
    for name in ("w", "h", "fl_x", "fl_y", "cx", "cy"):
        del facts[name]
    focal = 0.5 / math.tan(math.radians(15))
    capture(tmp_path, facts)
    for camera in (open_capture(tmp_path).camera, read_cameras(tmp_path / "transforms.json")[0]):
        assert camera.intrinsics[0, [0, 1], [0, 1]].tolist() == pytest.approx([focal, focal])
    assert read_cameras(saved(tmp_path / "alone", facts))[0].intrinsics[0, 0, 0] == pytest.approx(
        focal
    )


def test_frames_have_intrinsics_of_their_own(tmp_path: Path) -> None:
    facts = document()
    facts["frames"][1] |= {"fl_x": 3 * 108, "fl_y": 3 * 108, "cx": 64}
    camera, _ = read_cameras(saved(tmp_path, facts))
    assert camera.intrinsics[:, 0, 0].tolist() == pytest.approx([FOCAL, 3, FOCAL, FOCAL])
    assert camera.intrinsics[:, 0, 2].tolist() == pytest.approx([0.5, 64 / 108, 0.5, 0.5])


def test_names_without_an_ending_and_pictures_without_a_camera(tmp_path: Path) -> None:
    facts = document([f"./train/r_{i}" for i in range(4)], w=16, h=16, cx=8, cy=8)
    saved(tmp_path, facts).rename(tmp_path / "transforms_train.json")
    write({f"train/r_{i}.png": png(noise_image(i)) for i in range(5)}, tmp_path)
    found = open_capture(tmp_path)
    assert found.names == tuple(f"train/r_{i}.png" for i in range(4))
    assert (
        "1 of 5 pictures have no camera and are left out (train/r_4.png)" in found.notices["bare"]
    )


def test_distortion_is_a_warning(tmp_path: Path) -> None:
    facts = document(camera_model="OPENCV", k1=-0.3, k2=0.1)
    path = saved(tmp_path, facts)
    with pytest.warns(UserWarning, match="lens distortion of 4 of 4 cameras is ignored.*k1 -0.3"):
        read_cameras(path)
    found = open_capture(capture(tmp_path, facts))
    assert (
        "undistort the pictures first, or let '3dinv run --undistort'" in found.notices["distorted"]
    )


def test_distortion_is_taken_out_on_request(tmp_path: Path) -> None:
    facts = document(camera_model="OPENCV", k1=-0.3, k2=0.1)
    capture(tmp_path, facts)
    bent, straight = (open_capture(tmp_path, undistort=flag).load(108) for flag in (False, True))
    assert float((bent.images - straight.images).abs().mean()) > 0.02
    plain = open_capture(capture(tmp_path / "b", document()), undistort=True)
    assert "changes nothing" in plain.notices["undistorted"]
    assert torch.equal(plain.load(108).images, bent.images)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "camera model OPENCV_FISHEYE, only pinholes"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera model EQUIRECTANGULAR, only pinholes"),
        ({"is_fisheye": True}, "camera model FISHEYE, only pinholes"),
        ({"ftheta_p0": 0.1, "ftheta_p1": 1.0}, "camera model FTHETA, only pinholes"),
        ({"latlong": True}, "camera model LATLONG, only pinholes"),
        ({"equirectangular": True}, "camera model EQUIRECTANGULAR, only pinholes"),
        ({"orthographic": True}, "camera model ORTHOGRAPHIC, only pinholes"),
        ({"camera_type": "equirectangular"}, "camera model EQUIRECTANGULAR, only pinholes"),
        ({"distortion_model": "fisheye", "k1": 0.1}, "camera model FISHEYE, only pinholes"),
        ({"distortion": [-0.3, 0.1, 0, 0, 0]}, "distortion is [-0.3, 0.1, 0, 0, 0], whose order"),
        ({"dist_coeffs": [[0, 0.1]]}, "dist_coeffs is [[0, 0.1]], whose order isn't known; name"),
        ({"distortion_params": [-0.3, *[0] * 7]}, "distortion_params is [-0.3, 0, 0, 0, 0, 0, 0, "),
        ({"w": 0}, "frames[0] (images/view0.png): width 0, expected a number above 0"),
        ({"h": -3}, "height -3, expected a number above 0"),
        ({"fl_x": math.nan}, "frames[0] (images/view0.png): fl_x is nan, expected a finite"),
        ({"fl_x": "many"}, "fl_x is 'many', expected a number"),
        ({"cx": math.inf}, "cx is inf, expected a finite number"),
        ({"k1": math.nan}, "k1 is nan, expected a finite number"),
        ({"w": None}, "w is 'None', expected a number"),
        ({"fl_x": 2.13}, "focal length fx 2.13 for a picture of 108x192 pixels, which no lens has"),
        ({"camera_angle_x": 26.4}, "camera_angle_x is 26.4, expected radians between 0 and pi"),
        ({"distortion_params": [math.nan]}, "k1 is nan, expected a finite number"),
    ],
)
def test_cameras_that_cant_be_used(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    assert message in said(saved(tmp_path, document(**facts)))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"transform_matrix": None}, "expected transform_matrix, 4x4 numbers, found none; where"),
        ({"transform_matrix": "none"}, "expected transform_matrix, 4x4 numbers, found 'none'"),
        ({"file_path": None}, "frames[1]: expected transform_matrix and file_path in each frame"),
    ],
)
def test_frames_that_cant_be_used(tmp_path: Path, frame: dict[str, Any], message: str) -> None:
    facts = document()
    facts["frames"][1] |= frame
    assert message in said(saved(tmp_path, facts))


def test_a_frame_without_a_name_has_no_picture(tmp_path: Path) -> None:
    facts = document([f"images/{i:04d}.png" for i in range(4)])
    for frame in facts["frames"][1:]:
        del frame["file_path"]
    path = saved(tmp_path, facts)
    assert read_cameras(path)[1] == ("images/0000.png", "0001", "0002", "0003")
    write({f"images/{i:04d}.png": portrait(i) for i in range(4)}, tmp_path)
    with pytest.raises(InputError, match=r"frames\[1\]: expected transform_matrix and file_path"):
        open_capture(tmp_path)


@pytest.mark.parametrize("name", ["Transforms.json", "transforms_train.JSON"])
def test_its_name_in_capitals(tmp_path: Path, name: str) -> None:
    capture(tmp_path, document())
    (tmp_path / "transforms.json").rename(tmp_path / name)
    assert len(open_capture(tmp_path)) == 4


@pytest.mark.parametrize(
    "facts",
    [
        {"dist": [-0.3, 0, 0, 0, 0]}, {"D": [-0.3, 0, 0, 0]}, {"distCoeffs": [-0.3, 0]},
        {"dist_params": [-0.3]}, {"radial": [-0.3, 0]}, {"k": [-0.3, 0]}, {"lens-distortion": [1]},
    ],
)  # fmt: skip
def test_distortion_in_an_order_that_isnt_known(tmp_path: Path, facts: dict[str, Any]) -> None:
    message = said(saved(tmp_path, document(**facts)))
    assert f"{next(iter(facts))} is [" in message and "whose order isn't known" in message


@pytest.mark.parametrize(
    "facts",
    [
        {"camera": {"model": "fisheye"}}, {"model": "Fisheye"}, {"lens_type": "FISHEYE"},
        {"projection": "equirectangular"}, {"intrinsics": {"camera_model": "OPENCV_FISHEYE"}},
        {"lens": "panoramic"}, {"is_fisheye": "true"},
    ],
)  # fmt: skip
def test_lenses_that_are_no_pinholes_wherever_they_are_named(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    assert "only pinholes can be used" in said(saved(tmp_path, document(**facts)))


@pytest.mark.parametrize("rows", [3, 4])
def test_matrices_in_one_row(tmp_path: Path, rows: int) -> None:
    expected, _ = read_cameras(saved(tmp_path / "a", document()))
    flat = document()
    for frame in flat["frames"]:
        frame["transform_matrix"] = [n for row in frame["transform_matrix"][:rows] for n in row]
    found, _ = read_cameras(saved(tmp_path / "b", flat))
    torch.testing.assert_close(found.labels(), expected.labels())


@pytest.mark.parametrize(
    ("facts", "lens"),
    [
        ({"distortion_params": [-0.3, 0.1, 0, 0, 0.01, 0]}, "k1 -0.3, k2 0.1, p1 0.01"),
        ({"distortion_params": {"k1": -0.3}}, "k1 -0.3"),
        ({"distortion": {"K1": -0.3, "p2": 0.1}}, "k1 -0.3, p2 0.1"),
        ({"K1": -0.3}, "k1 -0.3"),
        ({"distortion_model": "plumb_bob", "k1": -0.3}, "k1 -0.3"),
        ({"k5": 0.2}, "k5 0.2"),
        ({"k4": 0.2, "camera_model": "FULL_OPENCV"}, "k4 0.2"),
    ],
)
def test_distortion_however_it_is_written(tmp_path: Path, facts: dict[str, Any], lens: str) -> None:
    path = capture(tmp_path, document(**facts))
    assert f"(images/view0.png: {lens})" in open_capture(path).notices["distorted"]
    full = "k5" in facts or "camera_model" in facts
    assert bool(open_capture(path).pinholes["images/view0.png"].divisor) == full


@pytest.mark.parametrize(
    "facts",
    [
        {"camera_type": "perspective", "is_fisheye": False, "orthographic": None},
        {"distortion_model": "none", "distortion": [0, 0.0], "dist_coeffs": {"data": [[0, 0]]}},
        {"distortion_params": [0] * 8, "distortion": None},
        {"is_fisheye": "false", "model": "iPhone 15", "lens": "35 mm aspherical", "camera": {}},
        {"K": [[150.0, 0, 54], [0, 150, 96], [0, 0, 1]], "D": [0, 0], "radial": [0.0]},
    ],
)
def test_pinholes_that_say_so_are_silent(tmp_path: Path, facts: dict[str, Any]) -> None:
    assert "distorted" not in open_capture(capture(tmp_path, document(**facts))).notices


def test_a_number_that_isnt_one_is_named(tmp_path: Path) -> None:
    facts = document()
    facts["frames"][1]["transform_matrix"][0][3] = math.nan
    message = said(saved(tmp_path, facts))
    assert "frames[1] (images/view1.png): row 1, column 4 of transform_matrix is nan" in message


def test_two_frames_of_one_name(tmp_path: Path) -> None:
    names = ["images/a.png", "./images/a.png"]
    assert "frames[1]: a second frame of the name images/a.png" in said(
        saved(tmp_path, document(names))
    )


def test_what_was_lost_of_the_document(tmp_path: Path) -> None:
    facts = document()
    for name in ("w", "h"):
        del facts[name]
    assert "no w and h to divide it by" in said(saved(tmp_path / "a", facts))
    for name in ("fl_x", "fl_y"):
        del facts[name]
    assert "no focal length; expected fl_x with w, or camera_angle_x" in said(
        saved(tmp_path / "b", facts)
    )
    assert "no frames in it" in said(saved(tmp_path / "c", {"frames": []}))


def test_moved_scenes_and_masks_elsewhere_are_said(tmp_path: Path) -> None:
    facts = document(applied_transform=[[1, 0, 0, 0]], applied_scale=2)
    facts["frames"][0]["mask_path"] = "masks/a.png"
    facts["frames"][1]["depth_file_path"] = "depths/b.png"
    notices = open_capture(capture(tmp_path, facts)).notices
    assert "applied_transform and applied_scale isn't applied" in notices["moved"]
    assert "mask_path of 1 of 4 frames isn't read" in notices["mask_path"]
    assert "depth_file_path of 1 of 4 frames isn't read" in notices["depth_file_path"]


def test_a_picture_of_another_shape_than_its_camera(tmp_path: Path) -> None:
    capture(tmp_path, document())
    write({"images/view1.png": png(np.zeros((108, 192, 3), np.uint8))}, tmp_path)
    with pytest.raises(InputError, match="192x108 pixels, but its camera is for 108x192; was it"):
        open_capture(tmp_path).load(16)


def test_both_kinds_of_labels_in_one_folder(tmp_path: Path) -> None:
    write(content(), tmp_path)
    saved(tmp_path, document([f"view{i}.png" for i in range(4)]))
    found = open_capture(tmp_path)
    assert "dataset.json: read; transforms.json in the same folder isn't" in found.notices["others"]


def test_a_name_with_a_line_break(tmp_path: Path) -> None:
    message = "frames[0]: expected transform_matrix and file_path"
    assert message in said(saved(tmp_path, document(["a\nb.png"])))
