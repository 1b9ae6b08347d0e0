"""Camera labels: EG3D's `dataset.json` and `.npy` files, checked number by number."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.camera import LABEL_LENGTH, Camera
from inv3d.core.errors import InputError

_ROTATION_TOLERANCE = 5e-3
_LARGEST_FOCAL = 20.0
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
Labels = dict[str, list[float]]


def parse_dataset_json(content: bytes, where: str) -> Labels:
    """Read the labels of an EG3D `dataset.json`.

    They're a list of [name, numbers] or an object of name: numbers, under "labels"; numbers may be
    written as texts.

    Args:
        content: of the file.
        where: its path, for messages.

    Raises:
        InputError: naming the file, the label and what's wrong with it.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); write it again") from None
    labels = document.get("labels") if isinstance(document, dict) else None
    if isinstance(labels, dict):
        labels = list(labels.items())
    if not isinstance(labels, list) or not labels:
        raise InputError(
            f'{where}: no labels found; expected {{"labels": [["NAME.png", [25 numbers]], ...]}}'
        )
    result: Labels = {}
    for position, entry in enumerate(labels):
        name, values = _pair(entry, f"{where}: labels[{position}]")
        if name in result:
            raise InputError(f"{where}: {name} has two labels; leave one out")
        result[name] = numbers(values, f"{where}: label of {name}")
    return result


def _pair(entry: Any, where: str) -> tuple[str, Any]:
    if isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str):
        return PurePosixPath(entry[0].replace("\\", "/")).as_posix(), entry[1]
    raise InputError(f"{where}: {_short(entry)}, expected [name, 25 numbers]")


def parse_npy(content: bytes, where: str) -> np.ndarray:
    """Read the array of a `.npy` file as float64; nothing pickled is accepted.

    Raises:
        InputError: where it isn't a readable array of numbers.
    """
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
    """Return a label's 25 numbers.

    Raises:
        InputError: where there are more or fewer, or one isn't a finite number.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | dict):
        raise InputError(f"{where}: {_short(values)}, expected {LABEL_LENGTH} numbers")
    listed = list(values)
    if len(listed) != LABEL_LENGTH:
        raise InputError(
            f"{where}: {len(listed)} numbers, expected {LABEL_LENGTH} "
            "(16 of cam2world row by row, then 9 of the intrinsics)"
        )
    return [_number(value, f"{where}: number {i}") for i, value in enumerate(listed)]


def _number(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where} is {_short(value)}, expected a number") from None
    if not abs(number) <= _LARGEST_FLOAT:
        raise InputError(f"{where} is {number}, expected a finite number")
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def cameras(labels: Labels, where: str) -> Camera:
    """Return the cameras of labels, in their order.

    Raises:
        InputError: where cam2world isn't rigid, its axes aren't OpenCV's, or the intrinsics
            aren't divided by the image size.
    """
    camera = Camera.from_labels(torch.tensor(list(labels.values()), dtype=torch.float64))
    for i, name in enumerate(labels):
        prefix = f"{where}: label of {name}"
        _check_pose(camera.cam2world[i], prefix)
        _check_intrinsics(camera.intrinsics[i], prefix)
    return camera.to(dtype=torch.float32)


def _check_pose(cam2world: Tensor, where: str) -> None:
    rotation, position = cam2world[:3, :3], cam2world[:3, 3]
    lengths = torch.linalg.vector_norm(rotation, dim=0)
    error = float((rotation.T @ rotation - torch.eye(3).to(rotation)).abs().max())
    determinant = float(torch.linalg.det(rotation))
    if error > _ROTATION_TOLERANCE or determinant < 0:
        axes = ", ".join(f"{float(length):.3f}" for length in lengths)
        raise InputError(
            f"{where}: cam2world isn't a rotation: determinant {determinant:.3f} and axes of "
            f"length {axes}, expected 1 and right angles; is it 4x4, row by row, camera to world?"
        )
    last = cam2world[3].tolist()
    if max(abs(a - b) for a, b in zip(last, (0, 0, 0, 1), strict=True)) > _ROTATION_TOLERANCE:
        raise InputError(
            f"{where}: the last row of cam2world is {_short(last)}, expected 0, 0, 0, 1; "
            "is it written row by row?"
        )
    towards_origin = float(rotation[:, 2] @ -position)
    if towards_origin < 0:
        raise InputError(
            f"{where}: the camera looks away from the origin, where the head is: looks like "
            "OpenGL axes; flip y and z (multiply columns 2 and 3 of cam2world by -1)"
        )


def _check_intrinsics(intrinsics: Tensor, where: str) -> None:
    fx, fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
    cx, cy = float(intrinsics[0, 2]), float(intrinsics[1, 2])
    if max(fx, fy) > _LARGEST_FOCAL or max(cx, cy) > _LARGEST_FOCAL:
        raise InputError(
            f"{where}: focal lengths {fx:.6g} and {fy:.6g}, centre {cx:.6g}, {cy:.6g}: looks like "
            "pixels; divide the intrinsics by the image size"
        )
    if min(fx, fy) <= 0 or intrinsics[2].tolist() != [0.0, 0.0, 1.0]:
        raise InputError(
            f"{where}: intrinsics {_short(intrinsics.flatten().tolist())}, expected "
            "fx, 0, cx, 0, fy, cy, 0, 0, 1 with fx and fy above 0, divided by the image size"
        )
