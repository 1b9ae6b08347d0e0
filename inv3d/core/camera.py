"""Cameras: OpenCV cam2world matrices with intrinsics divided by the image size.

World axes: x towards the subject's left, y up, z out of the subject's face. Camera axes: x right,
y down, z forward. Yaw 0 looks at the face, positive yaw moves the camera to the subject's left
(+x); pitch is positive above the horizon. Angles are radians here, degrees in the command line.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.arguments import expect, shown
from inv3d.core.errors import ConfigError, InputError

LABEL_LENGTH = 25
_ALL_AROUND_DEG = 150.0
# radians that cameras on a sphere keep from its poles, as EG3D's samplers do
_POLE = 1e-5
# of the cross product of view and up, below which no side is up
_UPRIGHT = 1e-7
# sine of the angle below which a rotation by more than a right angle is one by nearly pi
_HALF_TURN = 1e-3


def rows_at(index: int | slice | Sequence[int] | Tensor, count: int) -> slice | Tensor:
    """Return which of N rows an index means: a slice, or positions [M].

    Args:
        index: one, a slice, several, or a mask of N booleans.
        count: N.

    Raises:
        IndexError: outside of them, which also ends iteration.
    """
    if isinstance(index, slice):
        return index
    try:
        one = operator.index(index)  # type: ignore[arg-type]
    except TypeError:
        several = index if isinstance(index, Tensor) else torch.as_tensor(list(index))  # type: ignore[arg-type]
        if several.dtype == torch.bool and len(several) != count:
            raise IndexError(f"a mask of {len(several)}, expected one of {count}") from None
        return several.nonzero()[:, 0] if several.dtype == torch.bool else several.long()
    if not -count <= one < count:
        raise IndexError(f"number {one} of {count}")
    return slice(one % count, one % count + 1)


@dataclass(frozen=True)
class Camera:
    """A batch of N pinhole cameras.

    Attributes:
        cam2world: [N, 4, 4] camera to world, rigid, OpenCV axes, world units.
        intrinsics: [N, 3, 3] divided by the image size: focal lengths about 1 to 5, centre 0.5.
    """

    cam2world: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        expect("cam2world", self.cam2world, Tensor, "a tensor [N, 4, 4]")
        expect("intrinsics", self.intrinsics, Tensor, "a tensor [N, 3, 3]")
        count = self.cam2world.shape[0] if self.cam2world.ndim == 3 else -1
        if tuple(self.cam2world.shape) != (count, 4, 4):
            raise InputError(f"cam2world: shape {tuple(self.cam2world.shape)}, expected [N, 4, 4]")
        if tuple(self.intrinsics.shape) != (count, 3, 3):
            raise InputError(
                f"intrinsics: shape {tuple(self.intrinsics.shape)}, expected [{count}, 3, 3]"
            )

    def __len__(self) -> int:
        return int(self.cam2world.shape[0])

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Camera:
        rows = rows_at(index, len(self))
        if isinstance(rows, Tensor):
            rows = rows.to(self.cam2world.device)
        return Camera(self.cam2world[rows], self.intrinsics[rows])

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Camera:
        """Return the same cameras on another device or in another floating-point type."""
        return Camera(
            self.cam2world.to(device=device, dtype=dtype),
            self.intrinsics.to(device=device, dtype=dtype),
        )

    def repeat_interleave(self, views: int) -> Camera:
        """Return every camera `views` times in a row, [N * views]."""
        return Camera(
            self.cam2world.repeat_interleave(views, 0), self.intrinsics.repeat_interleave(views, 0)
        )

    @staticmethod
    def cat(cameras: Sequence[Camera]) -> Camera:
        """Join batches of cameras, one or more."""
        for i, camera in enumerate(cameras):
            expect(f"cameras[{i}]", camera, Camera, "a Camera")
        if not cameras:
            raise ConfigError("cameras: found none, expected one or more to join")
        return Camera(
            torch.cat([c.cam2world for c in cameras]), torch.cat([c.intrinsics for c in cameras])
        )

    @staticmethod
    def from_labels(labels: Tensor) -> Camera:
        """Read EG3D labels.

        Args:
            labels: [N, 25]: 16 numbers of cam2world, row by row, then 9 of the intrinsics.

        Raises:
            ConfigError: if they're no tensor.
            InputError: if the last dimension isn't 25.
        """
        expect("labels", labels, Tensor, f"a tensor [N, {LABEL_LENGTH}]")
        if labels.ndim != 2 or labels.shape[1] != LABEL_LENGTH:
            raise InputError(
                f"camera label: shape {tuple(labels.shape)}, expected [N, {LABEL_LENGTH}] "
                "(16 numbers of cam2world and 9 of the intrinsics)"
            )
        return Camera(labels[:, :16].reshape(-1, 4, 4), labels[:, 16:].reshape(-1, 3, 3))

    def labels(self) -> Tensor:
        """Return EG3D labels, [N, 25]."""
        return torch.cat([self.cam2world.flatten(1), self.intrinsics.flatten(1)], dim=1)

    @property
    def position(self) -> Tensor:
        """Camera centres in the world, [N, 3]."""
        return self.cam2world[:, :3, 3]

    @property
    def rotation(self) -> Tensor:
        """Camera-to-world rotations, [N, 3, 3]."""
        return self.cam2world[:, :3, :3]

    @property
    def yaw(self) -> Tensor:
        """Angle of the position around the vertical axis, [N], radians, 0 in front of the face."""
        return torch.atan2(self.position[:, 0], self.position[:, 2])

    @property
    def pitch(self) -> Tensor:
        """Angle of the position above the horizontal plane, [N], radians."""
        horizontal = torch.linalg.vector_norm(self.position[:, [0, 2]], dim=1)
        return torch.atan2(self.position[:, 1], horizontal)

    @property
    def radius(self) -> Tensor:
        """Distance from the world's origin, [N]."""
        radius: Tensor = self.position.norm(dim=1)
        return radius

    def rays(self, resolution: int) -> tuple[Tensor, Tensor]:
        """Return the rays through the pixel centres, rows first.

        Args:
            resolution: pixels a side, R.

        Returns:
            Origins and unit directions, each [N, R * R, 3].
        """
        pixels = torch.arange(resolution, device=self.cam2world.device).to(self.cam2world)
        centres = (pixels + 0.5) / resolution
        v, u = torch.meshgrid(centres, centres, indexing="ij")
        uv = torch.stack([u, v], dim=-1).reshape(1, -1, 2)
        directions = F.normalize(self._directions(uv.expand(len(self), -1, -1)), dim=-1)
        return self.position[:, None].expand_as(directions), directions

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project world points into the images.

        Args:
            points: [N, P, 3] or [P, 3], world units.

        Returns:
            uv [N, P, 2], 0 to 1 from the upper left corner of the image, and the distance along
            the viewing axis (z) [N, P]; points with z <= 0 lie behind the camera.
        """
        local = (points - self.position[:, None]) @ self.rotation
        z = local[..., 2]
        homogeneous = local @ self.intrinsics.transpose(1, 2)
        return homogeneous[..., :2] / homogeneous[..., 2:], z

    def unproject(self, uv: Tensor, distance: Tensor) -> Tensor:
        """Return the world points at a distance along the unit rays through image positions.

        Args:
            uv: [N, P, 2], 0 to 1.
            distance: [N, P], world units along the unit ray (the depth that generators render).

        Returns:
            [N, P, 3] world points.
        """
        directions = F.normalize(self._directions(uv), dim=-1)
        return self.position[:, None] + directions * distance[..., None]

    def _directions(self, uv: Tensor) -> Tensor:
        """World directions of length >= 1 (z = 1 in the camera) through uv [N, P, 2]."""
        fx, fy = self.intrinsics[:, 0, 0, None], self.intrinsics[:, 1, 1, None]
        cx, cy = self.intrinsics[:, 0, 2, None], self.intrinsics[:, 1, 2, None]
        skew = self.intrinsics[:, 0, 1, None]
        y = (uv[..., 1] - cy) / fy
        x = (uv[..., 0] - cx - skew * y) / fx
        return torch.stack([x, y, torch.ones_like(x)], dim=-1) @ self.rotation.transpose(1, 2)


def intrinsics_matrix(focal: float | Tensor, count: int = 1) -> Tensor:
    """Return [N, 3, 3] intrinsics with the principal point in the middle of the image.

    Args:
        focal: focal length divided by the image size, a number or [N].
        count: N where `focal` is a number.
    """
    focals = focal if isinstance(focal, Tensor) else torch.full((count,), float(focal))
    matrix = torch.zeros(len(focals), 3, 3, dtype=focals.dtype, device=focals.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = focals
    matrix[:, :2, 2] = 0.5
    matrix[:, 2, 2] = 1.0
    return matrix


def focal_from_fov(fov_deg: float) -> float:
    """Return the normalised focal length of a horizontal field of view in degrees."""
    return 0.5 / math.tan(math.radians(fov_deg) / 2)


def look_at(position: Tensor, target: Tensor, intrinsics: Tensor) -> Camera:
    """Return cameras that look from positions at targets, upright (world y is up).

    One that looks straight up or down has the world's x to its right.

    Args:
        position: [N, 3].
        target: [3] or [N, 3].
        intrinsics: [N, 3, 3] or [1, 3, 3].
    """
    expect("position", position, Tensor, "a tensor [N, 3]")
    expect("target", target, Tensor, "a tensor [3] or [N, 3]")
    expect("intrinsics", intrinsics, Tensor, "a tensor [N, 3, 3] or [1, 3, 3]")
    if position.ndim != 2 or not position.is_floating_point():
        raise InputError(
            f"position: shape {tuple(position.shape)} of {position.dtype}, expected [N, 3] of a "
            "floating-point type"
        )
    forward = F.normalize(target.to(position) - position, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0]).to(position).expand_as(position)
    across = torch.linalg.cross(forward, up)
    # straight up or down, where no side is up, the world's x is to the right
    level = torch.linalg.vector_norm(across, dim=-1, keepdim=True) > _UPRIGHT
    right = F.normalize(torch.where(level, across, torch.eye(3).to(position)[0]), dim=-1)
    down = torch.linalg.cross(forward, right)
    cam2world = torch.eye(4).to(position).repeat(len(position), 1, 1)
    cam2world[:, :3, :3] = torch.stack([right, down, forward], dim=-1)
    cam2world[:, :3, 3] = position
    return Camera(cam2world, intrinsics.to(position).expand(len(position), 3, 3))


def orbit(
    yaw: Tensor,
    pitch: Tensor | float = 0.0,
    *,
    radius: float,
    focal: float,
    pivot: Sequence[float] = (0.0, 0.0, 0.0),
) -> Camera:
    """Return cameras on a sphere around the world's origin that look at a pivot, as EG3D's do.

    Args:
        yaw: [N] radians.
        pitch: [N] radians, or one number; cameras keep a hair's breadth from the poles, where they
            would have no upright.
        radius: of the sphere, world units.
        focal: focal length divided by the image size.
        pivot: the point looked at, world units.
    """
    yaw = _as_tensor("yaw", yaw).reshape(-1)
    yaw = yaw if yaw.is_floating_point() else yaw.float()
    pitch = _as_tensor("pitch", pitch, dtype=yaw.dtype, device=yaw.device).expand_as(yaw)
    off = pitch.abs() - math.pi / 2
    pitch = torch.where(off.abs() < _POLE, pitch.sign() * (math.pi / 2 - _POLE), pitch)
    direction = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], dim=-1)
    target = torch.tensor(list(pivot), dtype=yaw.dtype, device=yaw.device)
    return look_at(direction * radius, target, intrinsics_matrix(focal, 1))


def _as_tensor(name: str, given: Any, **kind: Any) -> Tensor:
    try:
        return torch.as_tensor(given, **kind)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(f"{name}: found {shown(given)}, expected radians, a tensor [N]") from None


def interpolate(first: Camera, second: Camera, fraction: Tensor) -> Camera:
    """Interpolate between two cameras: spherical for the rotation, linear for all else.

    Args:
        first: one camera.
        second: one camera.
        fraction: [N], 0 gives `first` and 1 gives `second`.
    """
    for name, camera in (("first", first), ("second", second)):
        expect(name, camera, Camera, "one camera, such as camera[0]")
        if len(camera) != 1:
            raise InputError(f"{name}: {len(camera)} cameras, expected one, such as camera[0]")
    t = torch.as_tensor(fraction).reshape(-1).to(first.cam2world)[:, None]
    relative = first.rotation.transpose(1, 2) @ second.rotation
    rotation = first.rotation @ torch.matrix_exp(_skew(t * _rotation_vector(relative)))
    cam2world = torch.eye(4).to(first.cam2world).repeat(len(t), 1, 1)
    cam2world[:, :3, :3] = rotation
    cam2world[:, :3, 3] = torch.lerp(first.position, second.position, t)
    return Camera(cam2world, torch.lerp(first.intrinsics, second.intrinsics, t[..., None]))


def _rotation_vector(rotation: Tensor) -> Tensor:
    """Axis times angle of [N, 3, 3] rotations, [N, 3] (angles up to pi)."""
    cosine = ((rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)
    vector = torch.stack(
        [
            rotation[:, 2, 1] - rotation[:, 1, 2],
            rotation[:, 0, 2] - rotation[:, 2, 0],
            rotation[:, 1, 0] - rotation[:, 0, 1],
        ],
        dim=1,
    )
    sine = torch.linalg.vector_norm(vector, dim=1) / 2
    angle = torch.atan2(sine, cosine)
    scale = torch.where(
        sine > 1e-7, angle / (2 * sine).clamp_min(1e-12), torch.full_like(sine, 0.5)
    )
    turned = (sine < _HALF_TURN) & (cosine < 0)
    return torch.where(
        turned[:, None], _half_turn(rotation, vector, angle), vector * scale[:, None]
    )


def _half_turn(rotation: Tensor, vector: Tensor, angle: Tensor) -> Tensor:
    """Axis times angle of rotations by nearly pi, whose differences across the diagonal vanish."""
    # about an axis n by pi, (R + 1) / 2 is n n^T
    outer = (rotation + rotation.mT) / 4 + torch.eye(3).to(rotation) / 2
    longest = outer.diagonal(dim1=1, dim2=2).argmax(1)
    axis = F.normalize(outer[torch.arange(len(outer)), longest], dim=1)
    sign = torch.where((axis * vector).sum(1) < 0, -1.0, 1.0).to(axis)
    return axis * (sign * angle)[:, None]


def _skew(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)


@dataclass(frozen=True)
class CameraPrior:
    """Where the cameras of a generator's training data stood.

    Example:
        >>> import inv3d, torch
        >>> prior = inv3d.CameraPrior(radius=2.7, focal=4.26)
        >>> cameras = prior.orbit(torch.tensor([-30.0, 0.0, 30.0]).deg2rad())
        >>> [round(float(yaw)) for yaw in cameras.yaw.rad2deg()]
        [-30, 0, 30]
        >>> uv, z = cameras.project(torch.zeros(1, 3))  # the middle of the head, in the middle
        >>> uv[1], z[1]
        (tensor([[0.5000, 0.5000]]), tensor([2.7000]))

    Attributes:
        radius: distance from the world's origin, world units.
        focal: focal length divided by the image size.
        pivot: the point looked at, world units.
        yaw_deg: half range of the yaw, degrees.
        pitch_deg: half range of the pitch, degrees.
    """

    radius: float
    focal: float
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_deg: float = 90.0
    pitch_deg: float = 30.0

    def orbit(self, yaw: Tensor, pitch: Tensor | float = 0.0) -> Camera:
        """Return cameras of this prior at angles in radians, [N]."""
        return orbit(yaw, pitch, radius=self.radius, focal=self.focal, pivot=self.pivot)

    @property
    def all_around(self) -> bool:
        """Whether the cameras stood on all sides, behind included."""
        return self.yaw_deg >= _ALL_AROUND_DEG

    def front(self) -> Camera:
        """Return the frontal camera."""
        return self.orbit(torch.zeros(1))
