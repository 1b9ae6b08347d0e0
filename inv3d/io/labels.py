"""Camera labels: EG3D's `dataset.json` and `.npy` files, checked number by number."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.camera import LABEL_LENGTH, Camera
from inv3d.core.errors import InputError
from inv3d.core.poses import check_directions, rows_of
from inv3d.core.weights.forms import describe
from inv3d.io.files import plain_name

# how far R^T R may be from the identity: as rounding leaves it, and as affine face fits do
_ROUNDING, _NEARLY = 1e-3, 0.03
_LAST_ROW = 5e-3
_LARGEST_FOCAL = 20.0
# of the focal length; sensors have none at all
_MOST_SKEW = 0.25
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
Labels = dict[str, list[float]]


def parse_dataset_json(content: bytes, where: str) -> Labels:
    """Read the labels of an EG3D `dataset.json`.

    They're a list of [name, numbers] or an object of name: numbers, under "labels" or by itself;
    numbers may be written as texts.

    Args:
        content: of the file.
        where: its path, for messages.

    Raises:
        InputError: naming the file, the label and what's wrong with it.
    """
    entries = label_entries(parse_json(content, where), where)
    return {name: numbers(values, f"{where}: label of {name}") for name, values in entries.items()}


def parse_json(content: bytes, where: str) -> Any:
    """Read a JSON document.

    Raises:
        InputError: where it isn't one, or an object has a name twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{where}: {_short(twice)} stands there twice; leave one out")
        return found

    try:
        return json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); write it again") from None


def label_entries(document: Any, where: str) -> dict[str, Any]:
    """Return name -> what should be the numbers of a label, none of them looked at yet.

    Raises:
        InputError: where there are no labels, an entry has no name, or a name occurs twice.
    """
    labels = document.get("labels", document) if isinstance(document, dict) else document
    if isinstance(labels, dict):
        labels = list(labels.items())
    if not isinstance(labels, list) or not labels:
        raise InputError(
            f'{where}: no labels found; expected {{"labels": [["NAME.png", [25 numbers]], ...]}}'
        )
    result: dict[str, Any] = {}
    for position, entry in enumerate(labels):
        name, values = _pair(entry, position, where)
        if name in result:
            raise InputError(f"{where}: {name} has two labels; leave one out")
        result[name] = values
    return result


def _pair(entry: Any, position: int, where: str) -> tuple[str, Any]:
    pair = isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str)
    if pair and entry[0].isprintable():
        return plain_name(entry[0]), entry[1]
    raise InputError(f"{where}: labels[{position}]: {_short(entry)}, expected [name, 25 numbers]")


def parse_npy(content: bytes, where: str) -> np.ndarray:
    """Read the array of a `.npy` file as float64; nothing pickled is accepted.

    Raises:
        InputError: where it isn't a readable array of numbers.
    """
    if not content.startswith(np.lib.format.MAGIC_PREFIX):
        raise InputError(
            f"{where}: not a .npy array of numbers but {describe(content[:512])}; write it again "
            "with numpy.save"
        )
    try:
        file = io.BytesIO(content)
        head = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0}
        shape, fortran, dtype = reader.get(head, np.lib.format.read_array_header_2_0)(file)
        count = math.prod(shape)
        # before anything is allocated; NumPy itself takes a header's word for it
        if dtype.hasobject or count * dtype.itemsize > len(content) - file.tell():
            raise ValueError(f"its header says {count} values of the type {dtype}")
        array = np.frombuffer(content, dtype, count, file.tell())
        array = array.reshape(shape, order="F" if fortran else "C")
        return array.astype(np.float64, casting="same_kind")
    # numpy's reader has no error of its own for damaged files
    except Exception as error:
        raise InputError(
            f"{where}: not a readable .npy array of numbers ({_short(str(error))}); "
            "write it again with numpy.save"
        ) from None


def numbers(values: Any, where: str) -> list[float]:
    """Return a label's 25 numbers, which may also be written as the rows of two matrices.

    Raises:
        InputError: where there are more or fewer, or one isn't a finite number.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | dict):
        raise InputError(f"{where}: {_short(values)}, expected {LABEL_LENGTH} numbers")
    listed = list(values)
    for _ in range(2):  # matrices, and their rows
        if any(isinstance(part, list) for part in listed) and len(listed) < LABEL_LENGTH:
            listed = [n for part in listed for n in (part if isinstance(part, list) else [part])]
    if len(listed) != LABEL_LENGTH:
        raise InputError(
            f"{where}: {len(listed)} numbers, expected {LABEL_LENGTH} "
            "(16 of cam2world row by row, then 9 of the intrinsics)"
        )
    try:
        found = [float(value) for value in listed]
        # of 70,000 labels nearly all are as they should be: the slow way is for messages
        if sum(map(abs, found)) <= _LARGEST_FLOAT and bool not in map(type, listed):
            return found
    except (TypeError, ValueError, OverflowError):
        pass
    return [_number(value, where, i) for i, value in enumerate(listed)]


def _number(value: Any, where: str, position: int) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}: number {position} is {_short(value)}, expected a number"
        ) from None
    if not abs(number) <= _LARGEST_FLOAT:
        raise InputError(f"{where}: number {position} is {number}, expected a finite number")
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def cameras(labels: Labels, where: str) -> tuple[Camera, dict[str, str]]:
    """Return the cameras of labels, in their order, and what the user should know of them.

    A matrix that's nearly a rotation is replaced by the nearest rotation, with a notice.

    Args:
        labels: name -> 25 finite numbers.
        where: their file, for messages.

    Returns:
        N cameras, and sort -> notice.

    Raises:
        InputError: where cam2world isn't rigid, its axes aren't OpenCV's, it's world to camera,
            or the intrinsics aren't divided by the image size.
    """
    camera = Camera.from_labels(torch.tensor(list(labels.values()), dtype=torch.float64))
    names = list(labels)
    error = _check_rotations(camera, names, where)
    _check_last_rows(camera, names, where)
    _check_intrinsics(camera, names, where)
    off = rows_of(error > _ROUNDING)
    notices = {}
    if off:
        worst = int(error.argmax())
        camera.cam2world[off, :3, :3] = nearest_rotation(camera.rotation[off])
        notices["rotations"] = (
            f"{where}: {len(off)} of {len(names)} labels have a matrix that isn't quite a "
            f"rotation (R^T R is off by up to {float(error[worst]):.3f}, {names[worst]}); the "
            "nearest rotation was taken"
        )
    camera.cam2world[:, 3] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    camera.intrinsics[:, 2] = torch.tensor([0.0, 0.0, 1.0])
    check_directions(camera, names, where)
    return camera.to(dtype=torch.float32), notices


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Return the rotations nearest to matrices [N, 3, 3] of positive determinant."""
    left, _, right = torch.linalg.svd(matrix)
    rotation: Tensor = left @ right
    return rotation


def _check_rotations(camera: Camera, names: Sequence[str], where: str) -> Tensor:
    """Return how far each R^T R is from the identity, [N]; refuse what's far."""
    rotation = camera.rotation
    error = (rotation.mT @ rotation - torch.eye(3).to(rotation)).abs().amax((1, 2))
    determinant = torch.linalg.det(rotation)
    wrong = rows_of((error > _NEARLY) | (determinant < 0))
    if wrong:
        row = wrong[0]
        axes = torch.linalg.vector_norm(rotation[row], dim=0).tolist()
        raise InputError(
            f"{where}: label of {names[row]}: cam2world isn't a rotation: determinant "
            f"{float(determinant[row]):.3f} and axes of length "
            f"{', '.join(f'{length:.3f}' for length in axes)}, expected 1 and right angles (R^T R "
            f"is off by {float(error[row]):.3f}; up to {_NEARLY:.2f} is mended); is it 4x4, row by "
            "row, camera to world, without scale or mirrored axes?"
        )
    return error


def _check_last_rows(camera: Camera, names: Sequence[str], where: str) -> None:
    last = camera.cam2world[:, 3]
    expected = torch.tensor([0.0, 0.0, 0.0, 1.0]).to(last)
    wrong = rows_of((last - expected).abs().amax(1) > _LAST_ROW)
    if wrong:
        raise InputError(
            f"{where}: label of {names[wrong[0]]}: the last row of cam2world is "
            f"{_short(last[wrong[0]].tolist())}, expected 0, 0, 0, 1; is it written row by row?"
        )


def _check_intrinsics(camera: Camera, names: Sequence[str], where: str) -> None:
    intrinsics = camera.intrinsics
    focal, centre = intrinsics[:, [0, 1], [0, 1]], intrinsics[:, :2, 2]
    pixels = rows_of(torch.maximum(focal.amax(1), centre.amax(1)) > _LARGEST_FOCAL)
    if pixels:
        row = pixels[0]
        (fx, fy), (cx, cy) = focal[row].tolist(), centre[row].tolist()
        raise InputError(
            f"{where}: label of {names[row]}: focal lengths {fx:.6g} and {fy:.6g}, centre "
            f"{cx:.6g}, {cy:.6g}: looks like pixels; divide the intrinsics by the image size"
        )
    bottom = (intrinsics[:, 2] - torch.tensor([0.0, 0.0, 1.0]).to(intrinsics)).abs().amax(1)
    skewed = intrinsics[:, 0, 1].abs() > _MOST_SKEW * focal[:, 0].abs()
    skewed |= intrinsics[:, 1, 0].abs() > _ROUNDING
    wrong = rows_of((focal.amin(1) <= 0) | (bottom > _ROUNDING) | skewed)
    if wrong:
        raise InputError(
            f"{where}: label of {names[wrong[0]]}: intrinsics "
            f"{_short(intrinsics[wrong[0]].flatten().tolist())}, expected "
            "fx, 0, cx, 0, fy, cy, 0, 0, 1 with fx and fy above 0, divided by the image size"
        )
