"""Points and angles that a user gives where networks fail."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.errors import InputError, InvError
from inv3d.core.files import read_json
from inv3d.nn.face.crop import camera_at, placed_face, square_between
from inv3d.nn.face.landmarks import COUNT, Landmarks
from inv3d.nn.face.model import SEEN, UNCHANGED, FaceModel, angles, face_points, rigid_fit
from inv3d.nn.face.square import Square
from inv3d.photos.sight import Sight

FIVE = 5
_ROUNDS = 60


def read_points(path: Path) -> dict[str, Tensor]:
    """Read landmarks that a user gives.

    Args:
        path: of a JSON file: name of the picture -> five points (the subject's right eye, left
            eye, tip of the nose, right and left corner of the mouth) or 468, [x, y] in pixels.

    Raises:
        InputError: where the file is another.
    """
    try:
        document = read_json(path)
    except InvError as error:
        raise InputError(f"--landmarks {error}") from None
    if not isinstance(document, dict) or not document:
        raise InputError(f'--landmarks {path}: expected {{"NAME": [[x, y], ...], ...}}')
    return {
        str(name): _points(value, f"--landmarks {path}: {name}") for name, value in document.items()
    }


def _points(value: Any, where: str) -> Tensor:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    fits = array.ndim == 2 and array.shape[0] in (FIVE, COUNT) and array.shape[1] in (2, 3)
    if not (fits and np.isfinite(array).all()):
        raise InputError(
            f"{where}: expected {FIVE} points (right eye, left eye, nose, right and left corner of "
            f"the mouth, as the subject has them) or {COUNT}, each [x, y] in pixels"
        )
    return torch.from_numpy(array[:, :2].copy())


def for_picture(named: Mapping[str, Any], sight: Sight) -> Any:
    """Return what was given for a picture by its name, with or without an ending; else None."""
    by_stem = {PurePath(name).stem: value for name, value in named.items() if name}
    by_stem |= dict(named)
    keys = (sight.origin, PurePath(sight.origin).stem, sight.name, "")
    return next((by_stem[key] for key in keys if key in by_stem), None)


def use_points(model: FaceModel, sight: Sight, points: Tensor) -> None:
    """Take points that were given for a frame's landmarks, and fit the mean face to them.

    Args:
        model: the mean face.
        sight: of the frame; it's kept from here on.
        points: [5 or 468, 2] pixels.
    """
    whole = len(points) == COUNT
    shape = model.points if whole else model.anchors()
    rotation = flat_fit(shape, points)
    scale, shift = _scale((shape @ rotation.T)[:, :2], points)
    placed = model.points @ rotation.T * scale
    placed[:, :2] = points if whole else placed[:, :2] + shift
    sight.found = Landmarks(placed, 1.0)
    sight.pose = model.pose(sight.found)
    # flat points say nothing of depth, and aren't compressed as the network's are
    yaw, pitch, _ = angles(rotation)
    sight.yaw, sight.pitch = float(yaw), float(pitch)
    sight.pose = replace(sight.pose, yaw=sight.yaw, pitch=sight.pitch, square=UNCHANGED)
    sight.by_hand, sight.rank = True, 0
    sight.reasons.clear()


def flat_fit(shape: Tensor, points: Tensor) -> Tensor:
    """Return the rotation [3, 3] under which a shape [P, 3] looks like points [P, 2] from afar."""
    rotation = rigid_fit(shape, torch.cat([points, torch.zeros(len(points), 1).to(points)], 1))
    for _ in range(_ROUNDS):
        turned = shape @ rotation.T
        scale, _ = _scale(turned[:, :2], points)
        rotation = rigid_fit(shape, torch.cat([points, turned[:, 2:] * scale], 1))
    return rotation


def _scale(flat: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift [2] that bring flat points onto others."""
    a, b = flat - flat.mean(0), points - points.mean(0)
    scale = (a * b).sum() / a.square().sum()
    return scale, points.mean(0) - scale * flat.mean(0)


def use_angles(sight: Sight, yaw_deg: float, pitch_deg: float) -> None:
    """Take angles that were given for a frame's.

    Raises:
        InputError: where there's no face to crop by.
    """
    if sight.detection is None and sight.found is None:
        raise InputError(
            f"{sight.origin}: no face found, so that its yaw alone isn't enough; give five points "
            "with --landmarks"
        )
    sight.yaw, sight.pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    if sight.pose is not None:
        sight.pose = replace(sight.pose, square=UNCHANGED)
    sight.by_hand = True
    sight.reasons.clear()


def square_by_detection(model: FaceModel, alignment: Alignment, sight: Sight) -> Square:
    """Return the square that lies right for what the detector saw: eyes, nose and mouth.

    It's taken where landmarks can't be trusted.
    """
    assert sight.detection is not None
    camera = camera_at(alignment, torch.tensor([sight.yaw]), torch.tensor([sight.pitch]))
    face = face_points(placed_face(model, alignment), SEEN)
    uv = camera.project(face)[0][0]
    return square_between(uv, sight.detection.points[:4])
