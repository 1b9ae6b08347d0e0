"""COLMAP's models: text and binary, in all usual folders, and what can't be used."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.io.cameras import read_cameras
from inv3d.io.dataset import open_capture
from tests.captures import noise_image, png, ring, write, write_zip

NAMES = tuple(f"view {i}.png" for i in range(4))
FOCAL = 2.13
PINHOLE = (1, "PINHOLE", [FOCAL * 20, FOCAL * 20, 15.0, 10.0])
POINTS = ((1.5, 2.5, 7), (3.0, 4.0, -1))


def quaternion(rotation: torch.Tensor) -> list[float]:
    """(w, x, y, z) of a rotation: the largest eigenvector of a matrix made of it."""
    r = rotation
    upper = torch.tensor(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [0, r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [0, 0, r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [0, 0, 0, r.trace()],
        ]
    ).double()
    x, y, z, w = torch.linalg.eigh(upper.T).eigenvectors[:, -1].tolist()
    return [w, x, y, z]


def poses(camera: Camera) -> list[list[float]]:
    """World to camera: quaternions and positions."""
    inverse = torch.linalg.inv(camera.cam2world)
    return [[*quaternion(m[:3, :3]), *m[:3, 3].tolist()] for m in inverse]


def as_text(model: tuple[int, str, list[float]] = PINHOLE, spaced: bool = True) -> dict[str, bytes]:
    camera = f"# Camera list\n1 {model[1]} 30 20 {' '.join(map(str, model[2]))}\n"
    lines = ["# Image list"]
    for i, (pose, name) in enumerate(zip(poses(ring(4)), NAMES, strict=True)):
        lines.append(f"{i + 1} {' '.join(map(repr, pose))} 1 {name}")
        lines += [" ".join(f"{x} {y} {n}" for x, y, n in POINTS) if i else ""] if spaced else []
    return {"cameras.txt": camera.encode(), "images.txt": "\n".join(lines).encode() + b"\n"}


def as_binary(model: tuple[int, str, list[float]] = PINHOLE) -> dict[str, bytes]:
    number, _, parameters = model
    cameras = struct.pack("<QiiQQ", 1, 1, number, 30, 20)
    cameras += struct.pack(f"<{len(parameters)}d", *parameters)
    images = struct.pack("<Q", len(NAMES))
    for i, (pose, name) in enumerate(zip(poses(ring(4)), NAMES, strict=True)):
        images += struct.pack("<i7di", i + 1, *pose, 1) + name.encode() + b"\0"
        images += struct.pack("<Q", len(POINTS))
        for x, y, n in POINTS:
            images += struct.pack("<ddq", x, y, n)
    return {"cameras.bin": cameras, "images.bin": images}


def capture(model: dict[str, bytes], folder: str = "sparse/0/") -> dict[str, bytes]:
    pictures = {f"images/{name}": png(noise_image(i, 30)[:20]) for i, name in enumerate(NAMES)}
    return pictures | {folder + name: data for name, data in model.items()}


@pytest.mark.parametrize("model", [as_text(), as_text(spaced=False), as_binary()])
@pytest.mark.parametrize("folder", ["sparse/0/", "sparse/", "", "colmap/sparse/0/"])
def test_a_folder_with_a_model_is_a_capture(
    tmp_path: Path, model: dict[str, bytes], folder: str
) -> None:
    path = write(capture(model, folder), tmp_path)
    found = open_capture(path)
    assert found.names == NAMES
    torch.testing.assert_close(
        found.camera.labels(), ring(4).labels().float(), atol=1e-5, rtol=1e-5
    )
    assert "its camera with it" in (found.load(16), found.notices["cropped"])[1]
    for source in (path, path / folder):
        camera, names = read_cameras(source)
        assert names == NAMES
        torch.testing.assert_close(camera.labels(), found.camera.labels())


def test_text_with_a_byte_order_mark(tmp_path: Path) -> None:
    marked = {name: b"\xef\xbb\xbf" + data for name, data in as_text().items()}
    assert open_capture(write(capture(marked), tmp_path)).names == NAMES


def test_in_a_zip(tmp_path: Path) -> None:
    files = {f"head/{name}": data for name, data in capture(as_binary()).items()}
    assert open_capture(write_zip(files, tmp_path / "c.zip")).names == NAMES


def test_a_file_of_the_model(tmp_path: Path) -> None:
    write(as_binary(), tmp_path)
    assert read_cameras(tmp_path / "images.bin")[1] == NAMES


def test_a_folder_with_both_forms(tmp_path: Path) -> None:
    write(capture(as_text() | as_binary()), tmp_path)
    notices = open_capture(tmp_path).notices
    assert "images.bin: read; images.txt in the same folder isn't" in notices["forms"]
    farther = as_text()["images.txt"].replace(b" 1 view 0.png", b" 1 other.png")
    (tmp_path / "sparse" / "0" / "images.txt").write_bytes(farther)
    for name, first in (("images.txt", "other.png"), ("cameras.bin", NAMES[0])):
        _, names = read_cameras(tmp_path / "sparse" / "0" / name)
        assert names[0] == first


def test_a_reconstruction_in_parts(tmp_path: Path) -> None:
    first = {f"sparse/0/{name}": data for name, data in as_text().items()}
    second = {name.replace("/0/", "/12/"): data for name, data in first.items()}
    write(capture({}) | first | second, tmp_path / "both")
    found = open_capture(tmp_path / "both")
    assert "images.txt: read; sparse/12 beside it isn't" in found.notices["parts"]
    write(capture({}) | second, tmp_path / "one")
    assert "parts" not in open_capture(tmp_path / "one").notices
    camera, _ = read_cameras(tmp_path / "one")
    torch.testing.assert_close(camera.labels(), found.camera.labels())


@pytest.mark.parametrize(
    ("model", "bent"),
    [
        ((0, "SIMPLE_PINHOLE", [42.6, 15, 10]), ""),
        ((2, "SIMPLE_RADIAL", [42.6, 15, 10, 0.1]), "k1 0.1"),
        ((3, "RADIAL", [42.6, 15, 10, 0, 0.2]), "k2 0.2"),
        ((4, "OPENCV", [42.6, 42.6, 15, 10, 0.1, 0.2, 0.3, 0.4]), "k1 0.1, k2 0.2, p1 0.3, p2 0.4"),
        (
            (6, "FULL_OPENCV", [42.6, 42.6, 15, 10, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
            "k1 0.1, k2 0.2, k3 0.5, k4 0.6, k5 0.7, k6 0.8, p1 0.3, p2 0.4",
        ),
    ],
)
@pytest.mark.parametrize("write_model", [as_text, as_binary])
def test_models_and_their_distortion(
    tmp_path: Path, model: tuple[int, str, list[float]], bent: str, write_model: object
) -> None:
    assert callable(write_model)
    found = open_capture(write(capture(write_model(model)), tmp_path))
    assert found.camera.intrinsics[0].flatten().tolist() == pytest.approx(
        [FOCAL, 0, 0.5, 0, FOCAL, 0.5, 0, 0, 1]
    )
    assert (f"({NAMES[0]}: {bent})" in found.notices.get("distorted", "")) == bool(bent)


@pytest.mark.parametrize("write_model", [as_text, as_binary])
def test_other_models_are_refused(tmp_path: Path, write_model: object) -> None:
    assert callable(write_model)
    files = capture(write_model((5, "OPENCV_FISHEYE", [42.6, 42.6, 15, 10, 0, 0, 0, 0])))
    with pytest.raises(InputError, match="camera 1: camera model OPENCV_FISHEYE, only pinholes"):
        open_capture(write(files, tmp_path))


def broken(tmp_path: Path, change: dict[str, bytes], drop: str = "") -> str:
    base = as_binary() if any(name.endswith("bin") for name in (*change, drop)) else as_text()
    files = {name: data for name, data in (base | change).items() if name != drop}
    with pytest.raises(InputError) as error:
        open_capture(write(capture(files), tmp_path))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_broken_models_are_one_line(tmp_path: Path) -> None:
    text, binary = as_text(), as_binary()
    nan = text["images.txt"].split(b"\n")
    words = nan[3].split(b" ")
    nan[3] = b" ".join([*words[:6], b"nan", *words[7:]])
    cases = {
        "view 1.png: number 5 of its pose is nan": {"images.txt": b"\n".join(nan)},
        "isn't in": {"cameras.txt": text["cameras.txt"].replace(b"\n1 ", b"\n2 ")},
        "width 0, expected": {"cameras.txt": text["cameras.txt"].replace(b" 30 ", b" 0 ")},
        "3 parameters of PINHOLE": {"cameras.txt": b"1 PINHOLE 30 20 1 2 3\n"},
        "no images in it": {"images.txt": b"# none\n"},
        "not as COLMAP writes it": {"images.txt": b"hello world\n"},
        "a second image of this name": {"images.txt": text["images.txt"] * 2},
        "camera model number 77": {"cameras.bin": struct.pack("<QiiQQ", 1, 1, 77, 30, 20)},
        "it ends before its last point": {"images.bin": binary["images.bin"][:-30]},
        "no printable name": {"images.bin": binary["images.bin"].replace(b"view 1", b"view\n1")},
        "not as COLMAP writes": {"cameras.bin": b"abc"},
    }
    for i, (message, change) in enumerate(cases.items()):
        assert message in broken(tmp_path / str(i), change)
    assert "images without cameras" in broken(tmp_path / "x", {}, drop="cameras.bin")


def test_pictures_that_were_not_placed_are_left_out(tmp_path: Path) -> None:
    files = capture(as_binary()) | {"images/other.png": png(noise_image(9))}
    found = open_capture(write(files, tmp_path))
    assert found.names == NAMES
    assert "1 of 5 pictures have no camera and are left out" in found.notices["bare"]
