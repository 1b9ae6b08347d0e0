"""Cameras made of others: the mirrored one, and those nearby."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera


def mirrored_camera(camera: Camera, *, intrinsics: bool = True) -> Camera:
    """Return the cameras on the other side of the world's plane x = 0; differentiable.

    What a camera sees of a scene that is symmetric about that plane, as heads nearly are, is the
    picture of its mirrored camera, flipped left to right.

    Args:
        camera: N cameras.
        intrinsics: mirror the principal point and the skew, too, as flipping a picture does; where
            not, they stay, as in the released code of SPI, which is the same for a camera whose
            principal point is in the middle.

    Example:
        >>> import inv3d, torch
        >>> camera = inv3d.CameraPrior(radius=2.7, focal=4.26).orbit(torch.tensor([0.4]), 0.1)
        >>> other = inv3d.mirrored_camera(camera)
        >>> round(float(other.yaw), 2), round(float(other.pitch), 2)
        (-0.4, 0.1)
    """
    signs = torch.ones(4, 4).to(camera.cam2world)
    signs[0, 1:] = signs[1:3, 0] = -1
    k = camera.intrinsics
    if not intrinsics:
        return Camera(camera.cam2world * signs, k)
    skew, centre = torch.zeros_like(k), torch.zeros_like(k)
    skew[:, 0, 1] = 2 * k[:, 0, 1]
    centre[:, 0, 2] = 1 - 2 * k[:, 0, 2]
    return Camera(camera.cam2world * signs, k - skew + centre)


def flipped(images: Tensor) -> Tensor:
    """Return pictures, masks or depth maps [N, C, H, W] mirrored left to right."""
    return images.flip(-1)


def turned_camera(camera: Camera, yaw: Tensor, pitch: Tensor) -> Camera:
    """Return cameras that were carried around the world's origin; differentiable in all.

    The whole camera turns about the world's axes, first about x, then about y: a camera in front
    of the head moves to the subject's left with positive yaw and down with positive pitch.

    Args:
        camera: N cameras, or one.
        yaw: [N] radians, about the world's y axis.
        pitch: [N] radians, about the world's x axis.
    """
    turn = _about_y(yaw.to(camera.cam2world)) @ _about_x(pitch.to(camera.cam2world))
    top = turn @ camera.cam2world[:, :3]
    bottom = camera.cam2world[:, 3:].expand(len(top), -1, -1)
    return Camera(torch.cat([top, bottom], 1), camera.intrinsics.expand(len(top), -1, -1))


def _about_y(angle: Tensor) -> Tensor:
    cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), angle.new_ones(1)
    rows = [cosine, zero, sine, zero, one.expand_as(angle), zero, -sine, zero, cosine]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def _about_x(angle: Tensor) -> Tensor:
    cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), angle.new_ones(1)
    rows = [one.expand_as(angle), zero, zero, zero, cosine, -sine, zero, sine, cosine]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)
