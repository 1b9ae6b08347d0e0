"""Frames with what was found in them drawn over: crop, landmarks, axes of the head."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from inv3d.core.alignment import Alignment
from inv3d.io.images import Frame
from inv3d.nn.face.crop import camera_at
from inv3d.photos.sight import Sight

_LONGEST = 300
_AXES = ((229, 57, 53), (67, 160, 71), (30, 136, 229))
_CROP, _POINT = (255, 214, 0), (0, 230, 118)
_LENGTH = 0.22


def overview(pixels: Tensor, sight: Sight, alignment: Alignment) -> Frame:
    """Return a small picture of a frame [3, H, W] with everything drawn over it.

    Red is the head's x axis (to the subject's left), green up, blue out of the face.
    """
    factor = min(1.0, _LONGEST / max(pixels.shape[1:]))
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    if sight.found is not None:
        for x, y in (sight.found.points[:, :2] * factor).tolist():
            pen.point((x, y), fill=_POINT)
    if sight.square is not None:
        corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
        outline = sight.square.to_picture(corners.double()) * factor
        pen.line([tuple(p) for p in outline.tolist()], fill=_CROP, width=2)
        _draw_axes(pen, sight, alignment, factor)
    return np.asarray(image)


def _draw_axes(pen: ImageDraw.ImageDraw, sight: Sight, alignment: Alignment, factor: float) -> None:
    """Draw the axes of the head, from the tip of the nose."""
    assert sight.square is not None
    yaw, pitch = torch.tensor([sight.yaw]), torch.tensor([sight.pitch])
    camera = camera_at(alignment, yaw, pitch)
    start = torch.tensor(alignment.nose, dtype=torch.float64)
    ends = torch.cat([start[None], start + _LENGTH * torch.eye(3, dtype=torch.float64)])
    uv, _ = camera.project(ends)
    pixels = (sight.square.to_picture(uv[0]) * factor).tolist()
    for end, colour in zip(pixels[1:], _AXES, strict=True):
        pen.line([tuple(pixels[0]), tuple(end)], fill=colour, width=3)


def misaligned(sight: Sight) -> list[str]:
    """Say how a picture, as it was given, differs from its crop; nothing where it hardly does."""
    if sight.square is None:
        return []
    side = min(sight.width, sight.height)
    said = []
    if max(sight.width, sight.height) > 1.02 * side:
        said.append(f"it isn't square ({sight.width}x{sight.height})")
    size = side / sight.square.side
    if not 0.95 < size < 1.05:
        larger, factor = ("small", size) if size > 1 else ("large", 1 / size)
        said.append(f"the head is too {larger} in it by a factor of {factor:.2f}")
    across = (sight.square.x - sight.width / 2) / sight.square.side
    down = (sight.square.y - sight.height / 2) / sight.square.side
    if max(abs(across), abs(down)) > 0.03:
        way = "right" if across > 0 else "left"
        said.append(
            f"the head is {abs(100 * across):.0f} % of the crop too far {way} and "
            f"{abs(100 * down):.0f} % too far {'down' if down > 0 else 'up'}"
        )
    roll = math.degrees(sight.square.roll)
    if abs(roll) > 3:
        way = "clockwise" if roll > 0 else "counterclockwise"
        said.append(f"it's turned {way} by {abs(roll):.0f} degrees")
    return said
