"""Camera sets as files: EG3D's `dataset.json` and nerfstudio's (Blender's) `transforms.json`."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.core.files import write_json
from inv3d.io.labels import cameras, parse_dataset_json

LABELS, TRANSFORMS = "dataset.json", "transforms.json"


def write_labels(path: Path, camera: Camera, names: Sequence[str]) -> None:
    """Write EG3D labels, 25 numbers a name."""
    labels = camera.labels().double().cpu().tolist()
    pairs = [[name, label] for name, label in zip(names, labels, strict=True)]
    write_json(path, {"labels": pairs})


def write_transforms(path: Path, camera: Camera, names: Sequence[str], resolution: int) -> None:
    """Write OpenGL camera-to-world matrices with intrinsics in pixels.

    Args:
        path: the file.
        camera: N cameras.
        names: N file names.
        resolution: pixels a side that the intrinsics are for.
    """
    matrices = _flipped(camera.cam2world.double().cpu()).tolist()
    intrinsics = (camera.intrinsics.double().cpu() * resolution).tolist()
    frames = [
        {
            "file_path": name,
            "transform_matrix": matrix,
            "w": resolution,
            "h": resolution,
            "fl_x": k[0][0],
            "fl_y": k[1][1],
            "cx": k[0][2],
            "cy": k[1][2],
        }
        for name, matrix, k in zip(names, matrices, intrinsics, strict=True)
    ]
    write_json(path, {"camera_model": "OPENCV", "frames": frames})


def _flipped(cam2world: Tensor) -> Tensor:
    """OpenCV axes to OpenGL axes or back: the camera's y and z change their sign."""
    return cam2world * torch.tensor([1.0, -1.0, -1.0, 1.0]).to(cam2world)


def read_cameras(path: Path) -> tuple[Camera, tuple[str, ...]]:
    """Read a camera set and the names in it, EG3D or nerfstudio, told apart by their contents.

    What the user should know of the cameras is a Python warning.

    Raises:
        InputError: where the file is missing or a camera in it can't be used.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"--camera {path}: can't be read ({error.strerror})") from error
    try:
        document = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if isinstance(document, dict) and "frames" in document:
        labels = _transforms(document, str(path))
    else:
        labels = parse_dataset_json(content, str(path))
    camera, notices = cameras(labels, str(path))
    for notice in notices.values():
        warnings.warn(notice, stacklevel=2)
    return camera, tuple(labels)


def _transforms(document: Mapping[str, Any], where: str) -> dict[str, list[float]]:
    labels: dict[str, list[float]] = {}
    for index, frame in enumerate(document["frames"]):
        at = f"{where}: frames[{index}]"
        try:
            name = str(frame.get("file_path", f"{index:04d}"))
            matrix = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
            facts = {**document, **frame}
            intrinsics = _intrinsics(facts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{at}: {type(error).__name__} {error}; expected transform_matrix (4x4) and "
                "fl_x with w, or camera_angle_x"
            ) from error
        if tuple(matrix.shape) != (4, 4):
            raise InputError(f"{at}: transform_matrix {tuple(matrix.shape)}, expected 4x4")
        labels[name] = [*_flipped(matrix).flatten().tolist(), *intrinsics]
    return labels


def _intrinsics(facts: Mapping[str, Any]) -> list[float]:
    """Nine numbers divided by the image size, from pixels or from a field of view."""
    if "fl_x" not in facts:
        focal = 0.5 / math.tan(float(facts["camera_angle_x"]) / 2)
        return [focal, 0.0, 0.5, 0.0, focal, 0.5, 0.0, 0.0, 1.0]
    width = float(facts["w"])
    height = float(facts.get("h", width))
    fx = float(facts["fl_x"])
    fy = float(facts.get("fl_y", fx))
    cx, cy = float(facts.get("cx", width / 2)), float(facts.get("cy", height / 2))
    return [fx / width, 0.0, cx / width, 0.0, fy / height, cy / height, 0.0, 0.0, 1.0]
