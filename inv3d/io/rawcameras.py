"""`cameras.json` as EG3D's pre-processing of faces leaves it, before labels are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inv3d.core.errors import InputError
from inv3d.io.cameraset import CameraSet
from inv3d.io.files import plain_name

# of the picture of 1024 pixels that the fit was made with; 700 of them were kept
_FOCAL, _CENTRE, _KEPT = 2985.29, 512.0, 700.0
_RADIUS = 2.7
_TOLERANCE = 1e-3


def are_raw_cameras(document: Any) -> bool:
    """Whether a JSON document holds such cameras."""
    return any(
        isinstance(camera, Mapping) and {"pose", "intrinsics"} <= set(camera)
        for _, camera in _entries(document)
    )


def _entries(document: Any) -> list[tuple[str, Any]]:
    """Names and cameras: by name or in pairs, under "cameras", "labels" or by themselves."""
    if isinstance(document, Mapping):
        document = document.get("cameras", document.get("labels", document))
    if isinstance(document, Mapping):
        return list(document.items())
    pairs = document if isinstance(document, list) else []
    return [
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
    ]


def read_raw_cameras(document: Mapping[str, Any], where: str) -> CameraSet:
    """Make labels as that pre-processing does: normalised intrinsics, cameras 2.7 from the origin.

    What's wrong with a camera is an error where that camera is asked for.

    Raises:
        InputError: where a picture has two.
    """
    labels: dict[str, list[float] | InputError] = {}
    for written, camera in _entries(document):
        name = plain_name(written)
        if name in labels:
            raise InputError(f"{where}: {name} has two labels; leave one out")
        try:
            labels[name] = _label(camera, f"{where}: {name}")
        except InputError as error:
            labels[name] = error
    notice = (
        f"{where}: raw cameras, made into labels: focal length {_FOCAL:g} / {_KEPT:g}, centre 0.5, "
        f"{_RADIUS:g} from the origin"
    )
    return CameraSet(where, labels, notices={"raw": notice})


def _label(camera: Any, where: str) -> list[float]:
    """The 25 numbers that become of a camera."""
    if not isinstance(camera, Mapping):
        raise InputError(
            f"{where}: expected pose and intrinsics, found {camera!r:.40}; leave that picture out"
        )
    pose = _array(_whole(camera.get("pose")), (4, 4), f"{where}: pose")
    intrinsics = _array(camera.get("intrinsics"), (3, 3), f"{where}: intrinsics")
    distance = float(np.linalg.norm(pose[:3, 3]))
    if not _are_usual(intrinsics):
        raise InputError(
            f"{where}: raw cameras whose pictures aren't the usual crops (focal length "
            f"{intrinsics[0, 0]:g}, expected {_FOCAL:g}); make a dataset.json of them"
        )
    if distance == 0:
        raise InputError(f"{where}: pose: stands at the origin, in the head; leave it out")
    pose[:3, 3] *= _RADIUS / distance
    focal = _FOCAL / _KEPT
    square = [focal, 0.0, 0.5, 0.0, focal, 0.5, 0.0, 0.0, 1.0]
    return [*pose.flatten().tolist(), *square]


def _whole(pose: Any) -> Any:
    """A pose with its last row, which may be left out."""
    rows = isinstance(pose, list) and len(pose) == 3 and all(isinstance(r, list) for r in pose)
    return [*pose, [0.0, 0.0, 0.0, 1.0]] if rows else pose


def _are_usual(intrinsics: np.ndarray) -> bool:
    """Whether they are those of the fit, or of the crop with its side as 1."""
    return any(
        np.abs(intrinsics - np.array([[f, 0, c], [0, f, c], [0, 0, 1]])).max() < _TOLERANCE * f
        for f, c in ((_FOCAL, _CENTRE), (_FOCAL / _KEPT, 0.5))
    )


def _array(value: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """A matrix, whose numbers may also stand in one row."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape == (shape[0] * shape[1],):
        array = array.reshape(shape)
    expected = f"expected {shape[0]}x{shape[1]} finite numbers, found"
    if array.shape != shape:
        found = "x".join(map(str, array.shape)) if array.size and array.ndim else f"{value!r:.40}"
        raise InputError(f"{where}: {expected} {found}; leave that picture out")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise InputError(
            f"{where}: {expected} {array[row, column]:g} in row {row + 1}, column {column + 1}; "
            "leave that picture out"
        )
    return array
