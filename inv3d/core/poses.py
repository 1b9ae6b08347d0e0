"""Which way cameras look, and what a user has to do to matrices that look the wrong way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError

# beyond it a head doesn't stand upright; a head that's tilted in the picture stays below
MOST_ROLL_DEG = 60.0
INVERT = "is the matrix world to camera? invert it"
TURN_WORLD = "turn the world (multiply rows 2 and 3 of cam2world by -1)"
FLIP_XY = "flip x and y (multiply columns 1 and 2 of cam2world by -1)"
_TRANSPOSE = "is its rotation transposed? write its 3x3 part row by row"
_FLIP_YZ = "flip y and z (multiply columns 2 and 3 of cam2world by -1)"
_FLIP_XZ = "flip x and z (multiply columns 1 and 3 of cam2world by -1)"
# the signs of OpenGL's camera axes, and of the axes of a world that's upside down
_OPENGL = torch.tensor([1.0, -1.0, -1.0, 1.0])
# what is the matter where a change helps
_ABOUT = {
    _FLIP_YZ: "looks like OpenGL axes; ",
    FLIP_XY: "the camera's y axis points up; ",
    TURN_WORLD: "the world's y axis points down; ",
}
# the share of cameras that a change of all of them must mend, since single ones may be broken
_MENDED = 0.9
_ONE_SPOT = 1e-3
_AT_ORIGIN = 1e-6
_SAME_DIRECTION_DEG = 5.0
# the mean cosine of the yaw of cameras beyond which they are taken to stand on one side
_ONE_SIDE = 0.2
# seen from right above or below, nothing in the picture is upright
_POLE = 0.2


def roll(camera: Camera) -> Tensor:
    """How far the world's vertical is turned in the pictures, [N] radians, 0 where it's upright.

    Cameras right above or below the head, for which it isn't defined, have 0.
    """
    up = camera.rotation[:, 1]
    seen = torch.linalg.vector_norm(up[:, :2], dim=1)
    angle = torch.atan2(up[:, 0], -up[:, 1])
    return torch.where(seen > _POLE, angle, torch.zeros_like(angle))


def side(camera: Camera) -> int:
    """Whether cameras stand before the head, 1, behind it, -1, or neither, 0."""
    mean = float(camera.yaw.cos().mean())
    return int(mean > _ONE_SIDE) - int(mean < -_ONE_SIDE)


def offset(camera: Camera, point: Sequence[float] = (0.0, 0.0, 0.0)) -> Tensor:
    """How far a point lies from the middle of the pictures, [N]; 0.5 is the edge.

    It's the larger one of both directions, and infinite where the point is behind the camera.
    """
    uv, z = camera.project(torch.tensor([list(point)]).to(camera.cam2world))
    distance = (uv[:, 0] - 0.5).abs().amax(1)
    seen = (z[:, 0] > 0) & distance.isfinite()
    return torch.where(seen, distance, torch.full_like(distance, torch.inf))


def check_directions(camera: Camera, names: Sequence[str], where: str) -> None:
    """Refuse cameras that can't be camera to world, whatever the generator.

    Args:
        camera: N rigid cameras.
        names: of their pictures.
        where: the file that they come from, for the message.

    Raises:
        InputError: where a camera stands at the origin or looks away from it, all stand at one
            spot and look in different directions, or the origin is far outside of a picture and
            inverting or flipping the matrices would bring it in.
    """
    at_origin = rows_of(camera.radius <= _AT_ORIGIN)
    if at_origin:
        raise InputError(
            f"{where}: label of {names[at_origin[0]]}: the camera stands at the origin, in the "
            f"head (as {len(at_origin)} of {len(camera)} do); give the position in the last column "
            "of cam2world, or leave its picture out"
        )
    if _turn_on_one_spot(camera):
        raise InputError(
            f"{where}: all {len(camera)} cameras stand at one spot and look in different "
            f"directions: {INVERT}"
        )
    away = offset(camera)
    behind = rows_of((camera.rotation[:, :, 2] * -camera.position).sum(1) < 0)
    if behind:
        raise InputError(
            f"{where}: label of {names[behind[0]]}: the camera looks away from the origin, where "
            f"the head is (as {len(behind)} of {len(camera)} do): "
            f"{remedy(camera) or 'turn it to the head, or leave its picture out'}"
        )
    outside = rows_of(away > 1)
    if outside and (mend := remedy(camera)):
        raise InputError(
            f"{where}: label of {names[outside[0]]}: the head isn't in the picture (nor in "
            f"{len(outside)} of {len(camera)}): {mend}"
        )


def remedy(camera: Camera) -> str:
    """Say what to do to all matrices so that nearly all see the origin, upright.

    Returns:
        Such as "is the matrix world to camera? invert it"; "" where nothing that is known helps.
    """
    now = _right(camera)
    for text, changed in _changes(camera):
        then = _right(changed)
        if then >= _MENDED and then > now:
            return text
    return ""


def _right(camera: Camera) -> float:
    """The share of cameras that have the origin in the picture and stand upright."""
    upright = roll(camera).rad2deg().abs() <= MOST_ROLL_DEG
    return float(((offset(camera) <= 0.5) & upright).double().mean())


def _changes(camera: Camera) -> Iterator[tuple[str, Camera]]:
    """Yield what cameras may have been meant to be, the likeliest first."""
    opengl = _OPENGL.to(camera.cam2world)
    for text, changed in _flips(camera):
        yield _ABOUT.get(text, "") + text, changed
    cam2world = camera.cam2world
    for start, matrices in ((INVERT, _inverse(cam2world)), (_TRANSPOSE, _transposed(cam2world))):
        changed = Camera(matrices, camera.intrinsics)
        yield start, changed
        # a matrix with OpenGL axes whose axes were converted before it was inverted
        yield start, Camera(opengl[:, None] * matrices * opengl, camera.intrinsics)
        for text, flipped in _flips(changed):
            yield f"{start}, then {text}", flipped


def _flips(camera: Camera) -> Iterator[tuple[str, Camera]]:
    """Yield cameras with other axes; those that stand behind the head with the world turned."""
    cam2world, opengl = camera.cam2world, _OPENGL.to(camera.cam2world)
    flips = [
        (_FLIP_YZ, cam2world * opengl),
        (FLIP_XY, cam2world * torch.tensor([-1.0, -1.0, 1.0, 1.0]).to(cam2world)),
        (_FLIP_XZ, cam2world * torch.tensor([-1.0, 1.0, -1.0, 1.0]).to(cam2world)),
    ]
    if side(camera) < 0:
        turned = opengl[:, None] * cam2world
        flips[1:1] = [(TURN_WORLD, turned), (f"{TURN_WORLD}, and {_FLIP_YZ}", turned * opengl)]
    for text, matrices in flips:
        yield text, Camera(matrices, camera.intrinsics)


def _inverse(cam2world: Tensor) -> Tensor:
    back = cam2world[:, :3, :3].transpose(1, 2)
    result = torch.eye(4).to(cam2world).repeat(len(cam2world), 1, 1)
    result[:, :3, :3] = back
    result[:, :3, 3] = -(back @ cam2world[:, :3, 3:])[..., 0]
    return result


def _transposed(cam2world: Tensor) -> Tensor:
    result = cam2world.clone()
    result[:, :3, :3] = cam2world[:, :3, :3].transpose(1, 2)
    return result


def _turn_on_one_spot(camera: Camera) -> bool:
    """Whether all cameras stand where the first one does, and don't look where it looks."""
    first = camera[0]
    apart = torch.linalg.vector_norm(camera.position - first.position, dim=1)
    if bool((apart > _ONE_SPOT * first.radius).any()):
        return False
    cosine = (camera.rotation[:, :, 2] * first.rotation[:, :, 2]).sum(1).clamp(-1, 1)
    return bool((cosine.arccos().rad2deg() > _SAME_DIRECTION_DEG).any())


def rows_of(mask: Tensor) -> list[int]:
    """Return where a mask [N] is true."""
    rows: list[int] = mask.nonzero().flatten().tolist()
    return rows
