"""Camera sets as files, of every format that is read: for captures and for `--camera` alike."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from inv3d.core.arguments import PATH, expect
from inv3d.core.camera import LABEL_LENGTH, Camera
from inv3d.core.errors import ConfigError, InputError
from inv3d.core.files import write_json
from inv3d.core.weights.forms import PICKLE, ZIP, describe
from inv3d.io.cameraset import CameraSet
from inv3d.io.colmap import colmap_folder, read_colmap
from inv3d.io.decoding import picture_size
from inv3d.io.files import Files, FolderFiles, open_files
from inv3d.io.labels import label_entries, numbers, parse_json, parse_npy
from inv3d.io.latents import CAMERAS, holds, label_rows
from inv3d.io.naming import Images
from inv3d.io.rawcameras import are_raw_cameras, read_raw_cameras
from inv3d.io.transforms import SizeOf, flipped, read_transforms

LABELS, TRANSFORMS = "dataset.json", "transforms.json"
_ROWS, _RAW = "labels.npy", "cameras.json"
_FRAMED = (TRANSFORMS, "transforms_train.json")
# COLMAP's files that cameras are told by
_MODEL = ("cameras", "images")
_NEARLY_JSON = ("JSON", "text ('[")
_UNDISTORT = "undistort the pictures first, or let '3dinv run --undistort' do it"
# in this order, what a folder's cameras are read from
_IN_ORDER = (LABELS, "label.json", "labels.json", _ROWS, *_FRAMED)


def write_labels(path: Path, camera: Camera, names: Sequence[str]) -> None:
    """Write EG3D labels, 25 numbers a name.

    Raises:
        ConfigError: where there's no camera for each name.
    """
    expect("camera", camera, Camera, "a Camera, one for each name")
    if len(names) != len(camera):
        raise ConfigError(f"names: found {len(names)} for {len(camera)} cameras, expected as many")
    labels = camera.labels().double().cpu().tolist()
    pairs = [[name, label] for name, label in zip(names, labels, strict=True)]
    write_json(path, {"labels": pairs})


def write_transforms(
    path: Path, camera: Camera, names: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> None:
    """Write OpenGL camera-to-world matrices with intrinsics in pixels.

    Args:
        path: the file.
        camera: N cameras, of the squares in the middle of the pictures.
        names: N file names.
        sizes: N widths and heights of the pictures, pixels; the intrinsics are for those.
    """
    matrices = flipped(camera.cam2world.double().cpu()).tolist()
    intrinsics = camera.intrinsics.double().cpu().tolist()
    frames = [
        {"file_path": name, "transform_matrix": matrix, **_in_pixels(k, *size)}
        for name, matrix, k, size in zip(names, matrices, intrinsics, sizes, strict=True)
    ]
    write_json(path, {"camera_model": "OPENCV", "frames": frames})


def _in_pixels(square: list[list[float]], width: int, height: int) -> dict[str, float]:
    """Turn intrinsics of the square in the middle, 3x3, into those of its picture."""
    side = min(width, height)
    return {
        "w": width,
        "h": height,
        "fl_x": square[0][0] * side,
        "fl_y": square[1][1] * side,
        "cx": square[0][2] * side + (width - side) // 2,
        "cy": square[1][2] * side + (height - side) // 2,
    }


def read_cameras(path: Path) -> tuple[Camera, tuple[str, ...]]:
    """Read cameras and their names from a file, or from the folder or zip of a capture.

    EG3D's `dataset.json` or `labels.npy`, `c` or `cs` of an .npz or .pt file, nerfstudio's
    `transforms.json`, COLMAP's model and raw `cameras.json` are told apart by their contents. What
    the user should know is a warning.

    Raises:
        ConfigError: where `path` is no path.
        InputError: where there are no cameras, or one of them can't be used.
    """
    expect("path", path, PATH, "the path of a file or of a capture")
    found = camera_set(Path(path))
    camera = found.camera(found.read(found.labels))
    bent = distortion(found, found.labels, "cameras here have none")
    for notice in (*found.notices.values(), *filter(None, [bent])):
        warnings.warn(notice, stacklevel=2)
    return camera, tuple(found.labels)


def camera_set(path: Path) -> CameraSet:
    """Read cameras from a file, a folder or a zip; they're checked when they're asked for.

    Raises:
        InputError: where there are none.
    """
    if os.path.isdir(path) or _is_capture(path):
        files = open_files(path)
        folder = camera_folder(files, "")
        found = find_cameras(files, folder, Images(files, folder))
        if found is None:
            raise InputError(f"{path}: no cameras in it; expected {_expected()}")
        return found
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--camera {path}: can't be read ({reason})") from None
    if path.stem.lower() in _MODEL and path.suffix.lower() in (".bin", ".txt"):
        return read_colmap(FolderFiles(path.parent), "", path.suffix.lower())
    if content.startswith((ZIP, PICKLE)):
        return _numbered(path, label_rows(path).double().tolist())
    if content.startswith(np.lib.format.MAGIC_PREFIX) or path.suffix.lower() == ".npy":
        return _numbered(path, _rows(content, str(path)).tolist())
    try:
        document = parse_json(content, str(path))
    except InputError:
        kind = describe(content[:512])
        if not kind.startswith(_NEARLY_JSON):
            raise InputError(f"--camera {path}: is {kind}; expected {_expected()}") from None
        raise
    return _of_json(document, str(path), _Beside(path.parent))


def _is_capture(path: Path) -> bool:
    """Whether a file is a zip of other things than arrays, or is called one."""
    if path.suffix.lower() == ".zip" or not os.path.isfile(path):  # a pipe can be read only once
        return path.suffix.lower() == ".zip"
    return zipfile.is_zipfile(path) and not holds(path, CAMERAS)


def _numbered(path: Path, rows: list[list[float]]) -> CameraSet:
    return CameraSet(str(path), {f"{i:04d}": row for i, row in enumerate(rows)})


class _Beside:
    """Sizes of the pictures in a folder that is looked at when the first of them is wanted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> tuple[int, int] | None:
        return _size(self._files, self._images, name)

    @cached_property
    def _files(self) -> Files:
        return FolderFiles(self._folder)

    @cached_property
    def _images(self) -> Images:
        return Images(self._files, "")


def camera_folder(files: Files, root: str) -> str:
    """Return the folder that a capture's cameras are in: it's at the top or one below.

    Args:
        files: folder or zip.
        root: the top.

    Returns:
        `root` where there are no cameras at all.

    Raises:
        InputError: where several folders have some.
    """
    if _sources(files, root):
        return root
    below = {
        name[: name.index("/", len(root)) + 1] for name in files.names if "/" in name[len(root) :]
    }
    found = sorted(folder for folder in below if _sources(files, folder))
    if len(found) > 1:
        raise InputError(
            f"{files.source}: {len(found)} folders with cameras, {files.at(found[0])} and "
            f"{files.at(found[1])}; give one of them"
        )
    return found[0] if found else root


def find_cameras(files: Files, folder: str, images: Images) -> CameraSet | None:
    """Read the cameras that a folder holds; None where it holds none.

    Args:
        files: folder or zip.
        folder: in it.
        images: that the cameras are for.

    Raises:
        InputError: where they can't be read.
    """
    sources = _sources(files, folder)
    if not sources:
        return _beside(files, folder, images)
    first, *others = sources
    found = _read(files, folder, first, images)
    others = [name for name in others if name.lower() != _RAW]
    if others:
        found.notices["others"] = (
            f"{found.where}: read; {' and '.join(others)} in the same folder isn't"
        )
    return found


def unread_cameras(files: Files, folder: str) -> dict[str, str]:
    """Say that a JSON file holds cameras, where it's called as none is that is read."""
    for path in sorted(files.names):
        name = path.removeprefix(folder)
        if not path.startswith(folder) or "/" in name or not name.lower().endswith(".json"):
            continue
        try:
            document = parse_json(files.read(path), files.at(path))
        except InputError:
            continue
        if are_raw_cameras(document) or (isinstance(document, dict) and "frames" in document):
            called = TRANSFORMS if "frames" in document else _RAW
            return {
                "unread": f"{files.at(path)}: isn't read; to take its cameras, call it {called}"
            }
    return {}


def distortion(found: CameraSet, names: Collection[str], remedy: str = _UNDISTORT) -> str:
    """Warn of lenses that bend what a pinhole sees straight; "" where there are none."""
    bent = [name for name in names if name in found.pinholes and found.pinholes[name].distorted]
    if not bent:
        return ""
    lens = found.pinholes[bent[0]]
    return (
        f"{found.where}: the lens distortion of {len(bent)} of {len(names)} cameras is ignored "
        f"({bent[0]}: {lens.distortion}); {remedy}"
    )


def _sources(files: Files, folder: str) -> list[str]:
    """Names of what a folder has cameras in, in any case, the one that's read first."""
    there = {
        name.lower(): name
        for path in files.names
        if path.startswith(folder) and "/" not in (name := path.removeprefix(folder))
    }
    found = [there[name] for name in _IN_ORDER if name in there]
    model = colmap_folder(files, folder)
    if model is not None:
        found.append(model.removeprefix(folder) or "COLMAP's model")
    return [*found, *([there[_RAW]] if _RAW in there else [])]


def _read(files: Files, folder: str, name: str, images: Images) -> CameraSet:
    path = f"{folder}{name}"
    if path not in files.names:
        return read_colmap(files, colmap_folder(files, folder) or folder)
    where = files.at(path)
    if name.lower() == _ROWS:
        return _of_rows(files, path, images)
    document = parse_json(files.read(path), where)
    if name.lower() in _FRAMED and not (isinstance(document, dict) and "frames" in document):
        raise InputError(f'{where}: no frames in it; expected a list of them under "frames"')
    return _of_json(document, where, lambda picture: _size(files, images, picture))


def _of_json(document: Any, where: str, size_of: SizeOf) -> CameraSet:
    """Tell the formats apart by what they hold."""
    if isinstance(document, dict) and "frames" in document:
        return read_transforms(document, where, size_of)
    if are_raw_cameras(document):
        return read_raw_cameras(document, where)
    return CameraSet(where, label_entries(document, where))


def _size(files: Files, images: Images, name: str) -> tuple[int, int] | None:
    path = images.find(name)
    return picture_size(files.read(path), files.at(path)) if path else None


def _of_rows(files: Files, path: str, images: Images) -> CameraSet:
    """Labels in the order of the images' names."""
    where = files.at(path)
    rows = _rows(files.read(path), where)
    if len(rows) != len(images.paths):
        raise InputError(
            f"{where}: shape {rows.shape}, expected ({len(images.paths)}, 25): a row for each of "
            "the images, sorted by name"
        )
    names = map(images.short, images.paths)
    return CameraSet(where, dict(zip(names, rows.tolist(), strict=True)))


def _rows(content: bytes, where: str) -> np.ndarray:
    rows = parse_npy(content, where)
    if rows.ndim in (1, 3) and rows.shape[-1] == LABEL_LENGTH:  # one camera, or [N, 1, 25]
        rows = rows.reshape(-1, LABEL_LENGTH)
    if rows.ndim != 2:
        raise InputError(f"{where}: shape {rows.shape}, expected (N, 25): a row for each camera")
    return rows


def _beside(files: Files, folder: str, images: Images) -> CameraSet | None:
    """Read a `.npy` of 25 numbers beside every image."""
    beside = {path: str(PurePosixPath(path).with_suffix(".npy")) for path in images.paths}
    if files.names.isdisjoint(beside.values()):
        return None
    labels = {}
    for path, row in beside.items():
        if row not in files.names:
            raise InputError(f"{files.at(path)}: no label; expected {row} beside it")
        where = files.at(row)
        found = parse_npy(files.read(row), where).flatten().tolist()
        labels[images.short(path)] = numbers(found, where)
    return CameraSet(files.at(folder), labels)


def _expected() -> str:
    return f"{LABELS}, {_ROWS}, {TRANSFORMS}, or COLMAP's sparse/0/"
