"""nerfstudio's, Blender's and instant-ngp's `transforms.json`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from inv3d.core.errors import InputError
from inv3d.io.cameraset import CameraSet
from inv3d.io.files import plain_name
from inv3d.io.pinhole import Pinhole, check_model, check_pinhole

# width and height of a picture by its name; None where there's no such picture
SizeOf = Callable[[str], tuple[int, int] | None]
# what says how a scene was moved and scaled; the matrices are used as they stand
_MOVED = ("applied_transform", "applied_scale", "scale", "offset", "orientation_override")
# what frames say lies beside them, and where it's read from instead
_BESIDE = {
    "mask_path": "put the masks into masks/ under the images' names",
    "depth_file_path": "put distances along the ray into depth/ under the images' names, with a "
    "depth.json",
}
_ANGLES = ("camera_angle_x", "camera_angle_y")
# of nerfstudio's distortion_params
_LISTED = ("k1", "k2", "k3", "k4", "p1", "p2")
_FACTORS = frozenset({*_LISTED, "k5", "k6"})
# what a lens is named under; "distortion" may hold numbers, too
_MODELS = ("camera_model", "camera_type", "distortion_model", "distortion")
# names of pinholes, and of distortions as OpenCV has them, besides COLMAP's
_PINHOLES = frozenset(
    {"PERSPECTIVE", "NONE", "BROWN", "BROWN_CONRADY", "PLUMB_BOB", "RADTAN", "RATIONAL_POLYNOMIAL"}
)
# those in which k4 to k6 divide
_RATIONAL = frozenset({"FULL_OPENCV", "RATIONAL_POLYNOMIAL"})
# instant-ngp's lenses that aren't pinholes
_OTHER_LENSES = {
    "is_fisheye": "FISHEYE",
    "latlong": "LATLONG",
    "equirectangular": "EQUIRECTANGULAR",
    "orthographic": "ORTHOGRAPHIC",
}
# where else a lens may be named, in words that say that it's no pinhole
_ELSEWHERE = ("model", "lens", "lens_type", "lens_model", "projection", "projection_type")
_NO_PINHOLE = re.compile(
    "fish.?eye|equirect|panoram|latlong|orthographic|(?<!a)spheric|omnidir", re.IGNORECASE
)
_NO = (None, False, 0, "", "0", "no", "false")
# without gaps and in small letters; the last ones only where it's a list of numbers
_DISTORTIONS = frozenset(
    {
        *("distortionparams", "distortion", "distortioncoefficients", "distortioncoeffs"),
        *("distcoeffs", "distcoefs", "distparams", "dist", "lensdistortion"),
        *("radialdistortion", "tangentialdistortion", "radial", "tangential"),
    }
)
_LETTERS = ("d", "k")
_NERFSTUDIO = "distortion_params"


def flipped(cam2world: Tensor) -> Tensor:
    """OpenCV axes to OpenGL axes or back: the camera's y and z change their sign."""
    return cam2world * torch.tensor([1.0, -1.0, -1.0, 1.0]).to(cam2world)


def read_transforms(document: Mapping[str, Any], where: str, size_of: SizeOf) -> CameraSet:
    """Read frames: OpenGL camera to world, intrinsics in pixels or as a field of view.

    The intrinsics become those of the square in the middle of the picture. Frames without a
    file_path are called by their position, which says nothing of pictures.

    Args:
        document: of the file.
        where: its path, for messages.
        size_of: asked where the document doesn't say how large a picture is.

    Raises:
        InputError: naming the frame and what's wrong with it.
    """
    frames = document["frames"]
    if not isinstance(frames, list) or not frames:
        raise InputError(f'{where}: no frames in it; expected a list of them under "frames"')
    labels: dict[str, list[float]] = {}
    pinholes: dict[str, Pinhole] = {}
    for index, frame in enumerate(frames):
        at = f"{where}: frames[{index}]"
        if not isinstance(frame, Mapping):
            raise InputError(f"{at}: expected transform_matrix and file_path in each frame")
        written = frame.get("file_path", f"{index:04d}")
        if not (isinstance(written, str) and written.isprintable()):
            raise InputError(
                f"{at}: expected transform_matrix and file_path in each frame, found the file_path "
                f"{written!r:.40}"
            )
        name = plain_name(written)
        if name in labels:
            raise InputError(f"{at}: a second frame of the name {name}; leave one out")
        at = f"{at} ({name})"
        matrix = _matrix(frame.get("transform_matrix"), at)
        pinholes[name] = _pinhole({**document, **frame}, at, partial(size_of, name))
        labels[name] = [*flipped(matrix).flatten().tolist(), *pinholes[name].square()]
    bare = next((i for i, frame in enumerate(frames) if "file_path" not in frame), None)
    nameless = "" if bare is None else f"{where}: frames[{bare}]"
    return CameraSet(where, labels, pinholes, True, _notices(document, frames, where), nameless)


def _matrix(value: Any, where: str) -> Tensor:
    """Four rows of four numbers, or all in a row; the last row may be left out."""
    if isinstance(value, list) and len(value) in (12, 16):
        value = [value[start : start + 4] for start in range(0, len(value), 4)]
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        what = "none" if value is None else f"{value!r:.40}"
        raise InputError(
            f"{where}: expected transform_matrix, 4x4 numbers, found {what}; where that camera "
            "wasn't found, leave it out"
        )
    rows = value if len(value) != 3 else [*value, [0.0, 0.0, 0.0, 1.0]]
    if [len(row) for row in rows] != [4] * 4:
        raise InputError(
            f"{where}: transform_matrix with rows of {[len(row) for row in rows]} numbers, "
            "expected 4x4"
        )
    found = [
        [_number(value, f"{where}: row {i}, column {j} of transform_matrix") for j, value in row]
        for i, row in ((i, enumerate(row, 1)) for i, row in enumerate(rows, 1))
    ]
    return torch.tensor(found, dtype=torch.float64)


def _pinhole(facts: Mapping[str, Any], where: str, size: Callable[[], Any]) -> Pinhole:
    for model in _models(facts):
        check_model("" if model in _PINHOLES else model, where)

    def fact(name: str, default: float) -> float:
        return _number(facts[name], f"{where}: {name}") if name in facts else default

    width, height = _size(facts, where, size)
    across, down = (_angle(fact(name, math.nan), f"{where}: {name}") for name in _ANGLES)
    fx = fact("fl_x", _focal(width, across))
    fy = fact("fl_y", _focal(height, down))
    if math.isnan(fx) and math.isnan(fy):
        raise InputError(f"{where}: no focal length; expected fl_x with w, or camera_angle_x")
    camera = Pinhole(
        width=width,
        height=height,
        fx=fy if math.isnan(fx) else fx,
        fy=fx if math.isnan(fy) else fy,
        cx=fact("cx", width / 2),
        cy=fact("cy", height / 2),
    )
    radial, divisor, tangential = _lens(facts, where)
    camera = replace(camera, radial=radial, divisor=divisor, tangential=tangential)
    check_pinhole(camera, where)
    return camera


def _models(facts: Mapping[str, Any]) -> Iterator[str]:
    """Names of the lens, in capitals, wherever the facts have one."""
    yield from (model for name, model in _OTHER_LENSES.items() if _is_said(facts.get(name)))
    if any(name.startswith("ftheta_") for name in facts):
        yield "FTHETA"
    for name in _MODELS:
        if name in ("camera_model", "camera_type") or not isinstance(
            facts.get(name), list | Mapping
        ):
            yield re.sub("[- ]", "_", str(facts.get(name) or "")).upper()
    deeper = (v for name in ("camera", "intrinsics") if isinstance(v := facts.get(name), Mapping))
    for place in (facts, *deeper):
        said = (str(place.get(name, "")) for name in (*_ELSEWHERE, *_MODELS))
        yield from (text.upper() for text in said if _NO_PINHOLE.search(text))


def _is_said(value: Any) -> bool:
    """Whether a value says yes, as a text too."""
    return (value.strip().lower() if isinstance(value, str) else value) not in _NO


def _lens(
    facts: Mapping[str, Any], where: str
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, float]]:
    """The distortion; k5 and k6 are of OpenCV's full model."""
    named = _factors(facts, where)
    k = [_number(named.get(f"k{i}", 0.0), f"{where}: k{i}") for i in range(1, 7)]
    p1, p2 = (_number(named.get(name, 0.0), f"{where}: {name}") for name in ("p1", "p2"))
    full = any(k[4:]) or not _RATIONAL.isdisjoint(_models(facts))
    radial, divisor = (k[:3], k[3:]) if full else (k[:4], [])
    return tuple(radial), tuple(divisor), (p1, p2)


def _factors(facts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The distortion by name: alone, as nerfstudio lists it, or together under another name.

    Raises:
        InputError: where it's listed in an order that isn't known.
    """
    named: dict[str, Any] = {}
    for name, value in facts.items():
        if not _is_distortion(name, value):
            continue
        if isinstance(value, Mapping) and {key.lower() for key in value} <= _FACTORS:
            named |= {key.lower(): factor for key, factor in value.items()}
        elif name == _NERFSTUDIO and isinstance(value, list) and len(value) <= 6:
            named |= dict(zip(_LISTED, value, strict=False))
        elif isinstance(value, list | Mapping) and not _zeros(value):
            raise InputError(
                f"{where}: {name} is {value!r:.40}, whose order isn't known; name its numbers k1, "
                "k2, k3, p1, p2"
            )
    return named | {key.lower(): factor for key, factor in facts.items() if key.lower() in _FACTORS}


def _is_distortion(name: str, value: Any) -> bool:
    """Whether an entry is called as distortions are; K and D may be matrices instead."""
    short = re.sub("[_ -]", "", name).lower()
    if short in _LETTERS:
        return isinstance(value, list) and not any(isinstance(row, list) for row in value)
    return short in _DISTORTIONS


def _zeros(value: Any) -> bool:
    """Whether there's nothing but 0 in nested lists and objects."""
    if isinstance(value, Mapping):
        return all(map(_zeros, value.values()))
    return all(map(_zeros, value)) if isinstance(value, list) else not value


def _angle(angle: float, where: str) -> float:
    if not (math.isnan(angle) or 0 < angle < math.pi):
        raise InputError(f"{where} is {angle:g}, expected radians between 0 and pi")
    return angle


def _focal(length: float, angle: float) -> float:
    return 0.5 * length / math.tan(angle / 2)


def _size(
    facts: Mapping[str, Any], where: str, size: Callable[[], tuple[int, int] | None]
) -> tuple[float, float]:
    """Width and height of a frame: as it says, as its picture is, or a square."""
    if "w" in facts and "h" in facts:
        return _number(facts["w"], f"{where}: w"), _number(facts["h"], f"{where}: h")
    picture = size()
    if picture is not None:
        return float(picture[0]), float(picture[1])
    if "w" in facts or "h" in facts:
        side = _number(facts.get("w", facts.get("h")), f"{where}: w")
        return side, side
    if "fl_x" in facts or "fl_y" in facts:
        raise InputError(f"{where}: focal length in pixels, but no w and h to divide it by")
    return 1.0, 1.0


def _number(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where} is {str(value)[:40]!r}, expected a number") from None
    if not math.isfinite(number):
        raise InputError(
            f"{where} is {number}, expected a finite number; that camera wasn't found, leave it out"
        )
    return number


def _notices(document: Mapping[str, Any], frames: list[Any], where: str) -> dict[str, str]:
    notices = {}
    moved = [name for name in _MOVED if name in document]
    if moved:
        notices["moved"] = (
            f"{where}: {' and '.join(moved)} isn't applied; the head must be at the origin of the "
            "matrices as they stand"
        )
    for name, instead in _BESIDE.items():
        if count := sum(name in frame for frame in frames):
            notices[name] = (
                f"{where}: {name} of {count} of {len(frames)} frames isn't read; {instead}"
            )
    return notices
