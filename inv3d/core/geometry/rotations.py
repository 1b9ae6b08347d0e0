"""Camera rotations as few numbers that can be optimised, and cameras that stand where they turn."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera, CameraPrior, intrinsics_matrix, orbit

PoseForm = Literal["angles", "quaternion", "sixd"]
POSE_FORMS: tuple[PoseForm, ...] = get_args(PoseForm)
POSE_NUMBERS: dict[PoseForm, int] = {"angles": 2, "quaternion": 4, "sixd": 6}
# keeps six zeros, and a second column along the first, from being a division by nothing
_SIXD_OFFSET = 1e-4
_SHORTEST = 1e-8


def rotation_of_angles(yaw: Tensor, pitch: Tensor, roll: Tensor | None = None) -> Tensor:
    """Return the rotations of cameras that look at the origin; differentiable.

    Args:
        yaw: [N] radians, where the camera stands around the vertical axis.
        pitch: [N] radians, where it stands above the horizon.
        roll: [N] radians; all that the camera is turns about the world's z axis. In front of the
            face that's the camera's own roll.

    Returns:
        Camera-to-world rotations [N, 3, 3].
    """
    upright = orbit(yaw, pitch, radius=1.0, focal=1.0).rotation
    if roll is None:
        return upright
    cosine, sine, zero, one = roll.cos(), roll.sin(), torch.zeros_like(roll), torch.ones_like(roll)
    rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3) @ upright


def rotation_of_quaternion(quaternion: Tensor) -> Tensor:
    """Return the rotations [N, 3, 3] of quaternions [N, 4], w first, of any length but 0."""
    norm = torch.linalg.vector_norm(quaternion, dim=1, keepdim=True).clamp_min(_SHORTEST)
    w, x, y, z = (quaternion / norm).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def quaternion_of_rotation(rotation: Tensor) -> Tensor:
    """Return unit quaternions [N, 4], w first, of rotations [N, 3, 3].

    Each is read where it's largest, so that nothing small is divided by.
    """
    r = rotation
    diagonal = r.diagonal(dim1=1, dim2=2)
    x, y, z = diagonal.unbind(1)
    products = torch.stack(
        [
            torch.stack([1 + x + y + z, _off(r, 2, 1), _off(r, 0, 2), _off(r, 1, 0)], 1),
            torch.stack([_off(r, 2, 1), 1 + x - y - z, _sum(r, 0, 1), _sum(r, 0, 2)], 1),
            torch.stack([_off(r, 0, 2), _sum(r, 0, 1), 1 - x + y - z, _sum(r, 1, 2)], 1),
            torch.stack([_off(r, 1, 0), _sum(r, 0, 2), _sum(r, 1, 2), 1 - x - y + z], 1),
        ],
        dim=1,
    )
    largest = products.diagonal(dim1=1, dim2=2).argmax(1)
    return F.normalize(products[torch.arange(len(r), device=r.device), largest], dim=1)


def _off(r: Tensor, i: int, j: int) -> Tensor:
    return r[:, i, j] - r[:, j, i]


def _sum(r: Tensor, i: int, j: int) -> Tensor:
    return r[:, i, j] + r[:, j, i]


def rotation_of_sixd(numbers: Tensor) -> Tensor:
    """Return the rotations [N, 3, 3] of six numbers each, [N, 6]: two columns, made orthonormal.

    Zhou et al., On the Continuity of Rotation Representations, eq. 15; a small offset, as in
    Pose-Opt, keeps six zeros from having no direction.
    """
    columns = numbers + _SIXD_OFFSET
    first, second = columns[:, :3], columns[:, 3:]
    x = F.normalize(first, dim=1)
    y = F.normalize(second - (x * second).sum(1, keepdim=True) * x, dim=1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=2)


def sixd_of_rotation(rotation: Tensor) -> Tensor:
    """Return the first two columns of rotations [N, 3, 3], one after the other, [N, 6]."""
    return rotation[:, :, :2].transpose(1, 2).flatten(1)


def rotation_of(numbers: Tensor, form: PoseForm) -> Tensor:
    """Return the rotations [N, 3, 3] of numbers [N, POSE_NUMBERS[form]]; differentiable.

    Args:
        numbers: "angles": yaw, and pitch downwards, radians, as Pose-Opt counts them; "quaternion":
            w, x, y, z; "sixd": two columns.
        form: which.

    Example:
        >>> import inv3d, torch
        >>> front = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
        >>> inv3d.rotation_of(front, "quaternion")[0].diagonal().tolist()
        [1.0, -1.0, -1.0]
    """
    if form == "angles":
        return rotation_of_angles(numbers[:, 0], -numbers[:, 1])
    return rotation_of_quaternion(numbers) if form == "quaternion" else rotation_of_sixd(numbers)


def numbers_of(rotation: Tensor, form: PoseForm) -> Tensor:
    """Return the numbers of rotations [N, 3, 3], see `rotation_of`; "angles" loses the roll."""
    if form == "quaternion":
        return quaternion_of_rotation(rotation)
    if form == "sixd":
        return sixd_of_rotation(rotation) - _SIXD_OFFSET
    x, y, z = (-rotation[:, :, 2]).unbind(1)
    return torch.stack([torch.atan2(x, z), -y.clamp(-1, 1).asin()], dim=1)


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """Return the angle from rotations to others, [N] radians from 0 to pi; differentiable.

    Args:
        first: [N, 3, 3].
        second: [N, 3, 3], or one.
    """
    between = first.transpose(1, 2) @ second
    cosine = (between.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    axis = torch.stack([_off(between, 2, 1), _off(between, 0, 2), _off(between, 1, 0)], dim=1)
    return torch.atan2(torch.linalg.vector_norm(axis, dim=1) / 2, cosine)


def standing_camera(rotation: Tensor, prior: CameraPrior, shift: Tensor | None = None) -> Camera:
    """Return the cameras of a prior that have these rotations; differentiable in all.

    They stand on its sphere where they look at its pivot. A shift moves them on the sphere and
    leaves their rotation, so that the head moves in the picture (3D GAN Inversion with Pose
    Optimization, supplement); of its three directions the one along the radius has no effect.

    Args:
        rotation: [N, 3, 3], camera to world.
        prior: whose radius, pivot and focal length they have.
        shift: [N, 3] in the camera's axes, in radii of the sphere; none if None.
    """
    pivot = torch.tensor(prior.pivot).to(rotation)
    forward = rotation[:, :, 2]
    along = forward @ pivot
    back = along + (along.square() + prior.radius**2 - pivot.square().sum()).sqrt()
    position = pivot - back[:, None] * forward
    if shift is not None:
        moved = position - prior.radius * (rotation @ shift[..., None])[..., 0]
        position = prior.radius * F.normalize(moved, dim=1)
    top = torch.cat([rotation, position[..., None]], dim=2)
    bottom = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]).to(rotation).expand(len(rotation), -1, -1)
    intrinsics = intrinsics_matrix(prior.focal, len(rotation)).to(rotation)
    return Camera(torch.cat([top, bottom], dim=1), intrinsics)
