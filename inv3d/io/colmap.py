"""COLMAP's cameras and images, as text and binary."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from inv3d.core.errors import InputError
from inv3d.io.cameraset import CameraSet
from inv3d.io.files import Files, plain_name
from inv3d.io.pinhole import Pinhole, check_model, check_pinhole

# where a reconstruction lies, relative to the folder of the capture
FOLDERS = ("sparse/0/", "sparse/", "", "colmap/sparse/0/", "colmap/sparse/")
_FILES = (("cameras.bin", "images.bin"), ("cameras.txt", "images.txt"))
# number in binary files -> name and how many parameters it has
_MODELS = {
    0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5),
    4: ("OPENCV", 8), 5: ("OPENCV_FISHEYE", 8), 6: ("FULL_OPENCV", 12), 7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4), 9: ("RADIAL_FISHEYE", 5), 10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}  # fmt: skip
_COUNTS = dict(_MODELS.values())
# COLMAP numbers the parts that it couldn't bring together
_PART = re.compile(r"sparse/(\d+)/images\.(?:bin|txt)")
T = TypeVar("T")


@dataclass(frozen=True)
class _Image:
    """A line of `images.txt`: world to camera as a quaternion (w, x, y, z) and a position."""

    pose: tuple[float, ...]
    camera: int
    name: str


def colmap_folder(files: Files, root: str) -> str | None:
    """Return the folder of the reconstruction that belongs to a capture; None where none does."""
    for folder in FOLDERS:
        if any(f"{root}{folder}{name}" in files.names for _, name in _FILES):
            return f"{root}{folder}"
    parts = _parts(files, root)
    return f"{root}sparse/{parts[0]}/" if parts else None


def _parts(files: Files, root: str) -> list[int]:
    """Numbers of the parts of a reconstruction."""
    inner = (name.removeprefix(root) for name in files.names if name.startswith(root))
    return sorted({int(found[1]) for name in inner if (found := _PART.fullmatch(name))})


def read_colmap(files: Files, folder: str, ending: str = "") -> CameraSet:
    """Read a reconstruction: cameras, and images with their poses.

    The intrinsics become those of the square in the middle of the picture.

    Args:
        files: folder or zip.
        folder: in it, as `colmap_folder` returns it.
        ending: ".bin" or ".txt", of the files that are meant; binary ones come first if empty.

    Raises:
        InputError: naming the file and what's wrong with it.
    """
    there = [pair for pair in _FILES if all(f"{folder}{name}" in files.names for name in pair)]
    pair = next((pair for pair in there if pair[0].endswith(ending)), None)
    if pair is None:
        raise InputError(
            f"{files.at(folder)}: images without cameras; COLMAP's cameras and images belong "
            "together, as .bin or as .txt"
        )
    of_cameras, of_images = (files.at(f"{folder}{name}") for name in pair)
    contents = [files.read(f"{folder}{name}") for name in pair]
    if pair[0].endswith(".bin"):
        cameras = _parsed(lambda c: _binary_cameras(c, of_cameras), contents[0], of_cameras)
        images = _parsed(lambda c: list(_binary_images(c)), contents[1], of_images)
    else:
        cameras = _parsed(_text_cameras, contents[0], of_cameras)
        images = _parsed(lambda c: list(_text_images(c)), contents[1], of_images)
    found = _camera_set(cameras, images, of_cameras, of_images)
    if len(there) > 1 and not ending:
        found.notices["forms"] = f"{of_images}: read; {there[1][1]} in the same folder isn't"
    part = re.search(r"sparse/(\d+)/$", folder)
    others = [n for n in _parts(files, folder[: part.start()]) if n != int(part[1])] if part else []
    if others:
        listed = " and ".join(f"sparse/{number}" for number in others)
        found.notices["parts"] = (
            f"{of_images}: read; {listed} beside it isn't, as COLMAP's parts don't fit together"
        )
    return found


def _parsed(parse: Callable[[bytes], T], content: bytes, where: str) -> T:
    """Parse a file of COLMAP.

    Raises:
        InputError: where that fails.
    """
    try:
        return parse(content)
    except struct.error:
        reason = "it's cut short"
    except (ValueError, IndexError, OverflowError) as error:
        reason = str(error)
    raise InputError(f"{where}: not as COLMAP writes it ({reason}); export the model again")


def _camera_set(
    cameras: dict[int, tuple[str, tuple[float, ...]]],
    images: list[_Image],
    of_cameras: str,
    of_images: str,
) -> CameraSet:
    if not images:
        raise InputError(f"{of_images}: no images in it; COLMAP has placed none")
    labels: dict[str, list[float]] = {}
    pinholes: dict[str, Pinhole] = {}
    for image in images:
        at = f"{of_images}: {image.name}"
        if not image.name.isprintable():
            raise InputError(f"{of_images}: {image.name!r}: no printable name; rename that image")
        if image.name in labels:
            raise InputError(f"{at}: a second image of this name; leave one out")
        if image.camera not in cameras:
            raise InputError(f"{at}: camera {image.camera} isn't in {of_cameras}")
        model, numbers = cameras[image.camera]
        pinholes[image.name] = _pinhole(model, numbers, f"{of_cameras}: camera {image.camera}")
        labels[image.name] = [*_cam2world(image.pose, at), *pinholes[image.name].square()]
    return CameraSet(of_images, labels, pinholes, partial=True)


def _cam2world(pose: tuple[float, ...], where: str) -> list[float]:
    numbers = torch.tensor(pose, dtype=torch.float64)
    length = float(numbers[:4].norm())
    if not bool(numbers.isfinite().all()) or length == 0:
        position = next((i for i, v in enumerate(pose) if v - v != 0), 0)
        raise InputError(
            f"{where}: number {position} of its pose is {pose[position]:g}, expected a unit "
            "quaternion and a position; leave that image out"
        )
    w, x, y, z = (numbers[:4] / length).tolist()
    rotation = torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
    cam2world = torch.eye(4, dtype=torch.float64)
    cam2world[:3, :3] = rotation.T
    cam2world[:3, 3] = -rotation.T @ numbers[4:]
    return list(cam2world.flatten().tolist())


def _pinhole(model: str, numbers: tuple[float, ...], where: str) -> Pinhole:
    """Make a camera of width, height and the model's parameters."""
    check_model(model, where)
    width, height, *rest = numbers
    if model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"):
        rest = [rest[0], *rest]
    fx, fy, cx, cy, *k = rest
    if model in ("OPENCV", "FULL_OPENCV"):
        k1, k2, p1, p2, *more = k
        camera = Pinhole(
            width, height, fx, fy, cx, cy, (k1, k2, *more[:1]), tuple(more[1:]), (p1, p2)
        )
    else:
        camera = Pinhole(width, height, fx, fy, cx, cy, tuple(k))
    check_pinhole(camera, where)
    return camera


def _lines(content: bytes) -> list[str]:
    lines = content.decode("utf-8-sig").splitlines()
    return [line for line in lines if not line.lstrip().startswith("#")]


def _text_cameras(content: bytes) -> dict[int, tuple[str, tuple[float, ...]]]:
    cameras = {}
    for line in filter(str.strip, _lines(content)):
        number, model, *rest = line.split()
        if len(rest) != 2 + _COUNTS.get(model, len(rest) - 2):
            raise ValueError(f"camera {number}: {len(rest) - 2} parameters of {model}")
        cameras[int(number)] = (model, tuple(map(float, rest)))
    return cameras


def _text_images(content: bytes) -> Iterator[_Image]:
    """Two lines an image; the second holds its points, and may be empty or left out."""
    points_follow = False
    for line in _lines(content):
        words = line.split(maxsplit=9)
        if not words or (points_follow and _are_points(words)):
            points_follow = False
            continue
        pose = tuple(map(float, words[1:8]))
        yield _Image(pose, int(words[8]), plain_name(words[9].strip()))
        points_follow = True


def _are_points(words: list[str]) -> bool:
    """Whether a line holds triples of numbers, rather than an image with a name."""
    try:
        numbers = list(map(float, (*words[:9], *(words[9].split() if len(words) > 9 else ()))))
    except ValueError:
        return False
    return len(numbers) % 3 == 0


def _binary_cameras(content: bytes, where: str) -> dict[int, tuple[str, tuple[float, ...]]]:
    cameras = {}
    (count,), at = struct.unpack_from("<Q", content), 8
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", content, at)
        if model not in _MODELS:
            check_model(f"number {model}", f"{where}: camera {number}")
        name, parameters = _MODELS[model]
        at += 24
        rest = struct.unpack_from(f"<{parameters}d", content, at)
        at += 8 * parameters
        cameras[number] = (name, (float(width), float(height), *rest))
    return cameras


def _binary_images(content: bytes) -> Iterator[_Image]:
    (count,), at = struct.unpack_from("<Q", content), 8
    for _ in range(count):
        _, *pose, camera = struct.unpack_from("<i7di", content, at)
        at += 64
        end = content.index(b"\0", at)
        name = content[at:end].decode("utf-8")
        (points,) = struct.unpack_from("<Q", content, end + 1)
        at = end + 9 + 24 * points
        if at > len(content):
            raise ValueError("it ends before its last point")
        yield _Image(tuple(pose), camera, plain_name(name))
