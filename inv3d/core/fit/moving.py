"""Cameras that change while something is fitted through them."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera


class MovingCameras:
    """N cameras that turn about the world's origin, where the head is, and shift along their axes.

    Rotations stay rotations and intrinsics stay as they are, unlike in the official multi-view
    code, whose option `optimize_cam` changes the 25 numbers of a label one by one.

    Attributes:
        given: the cameras as they were.
        turn: [N, 3], each along its axis in the world, radians.
        shift: [N, 3], along the camera's own axes, parts of its distance from the origin.

    Example:
        >>> import inv3d, torch
        >>> given = inv3d.ToyGenerator(inv3d.ToyConfig()).spec.camera.orbit(torch.zeros(2))
        >>> moving = inv3d.MovingCameras(given)
        >>> _ = moving.turn[1].copy_(torch.tensor([0.0, 0.1, 0.0]))
        >>> [round(float(yaw), 3) for yaw in moving.camera().yaw]
        [0.0, 0.1]
    """

    def __init__(self, given: Camera) -> None:
        self.given = given
        self.turn = given.position.new_zeros(len(given), 3)
        self.shift = given.position.new_zeros(len(given), 3)

    def variables(self) -> dict[str, Tensor]:
        """Return what changes, by name."""
        return {"turn": self.turn, "shift": self.shift}

    def camera(self) -> Camera:
        """Return the cameras as they are now, with their graph."""
        given = self.given
        turned = torch.linalg.matrix_exp(_skew(self.turn))
        rotation = turned @ given.rotation
        shift = self.shift * given.radius[:, None]
        position = turned @ given.position[..., None] + rotation @ shift[..., None]
        top = torch.cat([rotation, position], dim=2)
        return Camera(torch.cat([top, given.cam2world[:, 3:]], dim=1), given.intrinsics)


def _skew(vectors: Tensor) -> Tensor:
    """Return the matrices [N, 3, 3] whose product with a vector is the cross product."""
    x, y, z = vectors.unbind(1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
