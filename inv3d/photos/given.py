"""Points and angles that a user gives where networks fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.core.errors import InputError, InvError, suggest
from inv3d.core.files import read_json
from inv3d.nn.face.crop import camera_at, placed_face, square_between
from inv3d.nn.face.landmarks import COUNT, Landmarks
from inv3d.nn.face.model import (
    LEFT_EYE,
    RIGHT_EYE,
    SEEN,
    UNCHANGED,
    FaceModel,
    angles,
    face_points,
    rigid_fit,
)
from inv3d.nn.face.square import Square
from inv3d.photos.sight import Sight

FIVE = 5
_NAMES = ("right eye", "left eye", "nose", "right corner of the mouth", "left corner of the mouth")
_ROUNDS = 60
# points may lie so far outside of a picture, as parts of it: of a face that is cut off
_OUTSIDE = 0.25
# no face shows eyes, nose and mouth from there; points of a true profile are fitted to within 15
_BEHIND_DEG = 105.0
# names of pictures that a message lists at most
_LISTED = 9


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
    return next((by_stem[key] for key in (*_called(sight), "") if key in by_stem), None)


def _called(sight: Sight) -> tuple[str, str, str]:
    return sight.origin, PurePath(sight.origin).stem, sight.name


def _name(sight: Sight) -> str:
    """What a user calls a picture, or a frame of a video."""
    return sight.origin if sight.time_s is None else sight.name


def unknown_names(option: str, named: Mapping[str, Any], sights: Sequence[Sight]) -> list[str]:
    """Return what to tell where something was given for pictures that there aren't.

    Args:
        option: by which it was given.
        named: what was given, by the names of pictures; "" stands for all.
        sights: of all pictures.

    Raises:
        InputError: where there's none of them.
    """
    called = {"", *(name for sight in sights for name in _called(sight))}
    unknown = [name for name in named if called.isdisjoint((name, PurePath(name).stem))]
    if not unknown:
        return []
    known = [_name(sight) for sight in sights]
    hint = suggest(unknown[0], known)
    if "did you mean" not in hint and len(known) > _LISTED:
        hint = f"; known: {known[0]} to {known[-1]}"
    counted = f" (so {len(unknown)} of {len(named)} names)" if len(named) > 1 else ""
    said = f"{option}: no picture is called '{unknown[0]}'{counted}{hint}"
    if len(unknown) == len(named):
        raise InputError(said)
    return [said]


def check_inside(path: Path, sight: Sight, points: Tensor) -> None:
    """Refuse points that can't be of a picture.

    Args:
        path: of the file that has them.
        sight: of the picture.
        points: [5 or 468, 2] pixels of the file's picture.

    Raises:
        InputError: where one lies far outside.
    """
    size = torch.tensor([sight.width, sight.height]).to(points) / sight.scale
    away = (torch.maximum(-points, points - size) / size).amax(1)
    row = int(away.argmax())
    if float(away[row]) > _OUTSIDE:
        name = f" ({_NAMES[row]})" if len(points) == FIVE else ""
        raise InputError(
            f"--landmarks {path}: {sight.origin}: point {row + 1}{name} is at {_at(points[row])}, "
            f"far outside of the picture of {_size(sight)} pixels; give [x, y] in pixels from its "
            "upper left corner"
        )


def check_turn(path: Path, sight: Sight, points: Tensor) -> None:
    """Refuse points by which a face would be seen from behind.

    Args:
        path: of the file that has them.
        sight: of the picture, with the yaw that was fitted to them.
        points: [5 or 468, 2] pixels of the file's picture.

    Raises:
        InputError: where it would.
    """
    yaw = math.degrees(sight.yaw)
    if abs(yaw) <= _BEHIND_DEG:
        return
    eyes = face_points(points, (RIGHT_EYE, LEFT_EYE)) if len(points) == COUNT else points[:2]
    raise InputError(
        f"--landmarks {path}: {sight.origin}: with the right eye at {_at(eyes[0])} and the left "
        f"one at {_at(eyes[1])} in {_size(sight)} pixels the face is seen from behind (yaw "
        f"{yaw:+.0f} degrees); right and left are the subject's, whose right eye is on the left of "
        f"a picture that isn't mirrored; else give --yaw {_name(sight)}=DEGREES"
    )


def _size(sight: Sight) -> str:
    return f"{sight.width / sight.scale:.0f}x{sight.height / sight.scale:.0f}"


def _at(point: Tensor) -> str:
    return f"[{point[0]:g}, {point[1]:g}]"


def use_points(model: FaceModel, sight: Sight, points: Tensor) -> None:
    """Take points that were given for a frame's landmarks, and fit the mean face to them.

    Args:
        model: the mean face.
        sight: of the frame; it's kept from here on.
        points: [5 or 468, 2] pixels of the file's picture.
    """
    points = points * sight.scale
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
