"""A depth map as a surface: its pixels are vertices, neighbours are joined by triangles."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.geometry.depth import depth_points

_NOTHING = 1e-6
# corners of a square of pixels: upper left, upper right, lower left, lower right
_FALLING = ((0, 2, 3), (0, 3, 1))
_RISING = ((1, 0, 2), (1, 2, 3))
# the triangle that is left of a square where one corner is missing, by that corner
_WITHOUT = ((1, 2, 3), (0, 2, 3), (0, 3, 1), (1, 0, 2))


def depth_surface(
    camera: Camera,
    depth: Tensor,
    mask: Tensor | None = None,
    *,
    most_cosine: float = 1.0,
    longest: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the vertices and triangles of one depth map; vertices are differentiable.

    Args:
        camera: one, that the depth belongs to.
        depth: [1, 1, h, w], distance along the unit ray, world units, 0 where there's nothing.
        mask: [1, 1, h, w], where there's a surface; everywhere if None.
        most_cosine: see `grid_triangles`.
        longest: see `grid_triangles`.

    Returns:
        World points [h * w, 3], rows of pixels first, and triangles [T, 3], see `grid_triangles`.

    Example:
        >>> import inv3d, torch
        >>> camera = inv3d.CameraPrior(radius=2.7, focal=4.26).front()
        >>> depth = torch.full((1, 1, 4, 5), 2.7)
        >>> depth[..., 0, 0] = 0
        >>> points, triangles = inv3d.depth_surface(camera, depth)
        >>> points.shape, triangles.shape
        (torch.Size([20, 3]), torch.Size([23, 3]))
    """
    points = depth_points(camera, depth)[0]
    there = depth[0, 0] > _NOTHING
    if mask is not None:
        there = there & (mask[0, 0] > 0)
    grid = points.detach().reshape(*there.shape, 3)
    return points, grid_triangles(grid, there, most_cosine=most_cosine, longest=longest)


def grid_triangles(
    points: Tensor,
    there: Tensor | None = None,
    *,
    most_cosine: float = 1.0,
    longest: float | None = None,
) -> Tensor:
    """Return the triangles between the points of a grid, as HFGI3D joins those of a depth map.

    Four neighbours make two triangles, split along the diagonal that gives the wider ones: that
    whose largest cosine of a corner is smaller. Three make one. All turn the same way: counter
    clockwise to a viewer for whom rows run to the right and columns up.

    Args:
        points: [h, w, 3], on any grid.
        there: [h, w] bool, which points there are; all if None.
        most_cosine: triangles with a larger cosine of a corner are left out: long thin ones, as
            between a head and what lies far behind it. 1 leaves out none.
        longest: triangles with a longer side are left out, in the unit of the points.

    Returns:
        [T, 3] int64, numbers of points, rows first: those of three neighbours, then those along
        the one and along the other diagonal.
    """
    height, width = points.shape[:2]
    number = torch.arange(height * width, device=points.device).view(height, width)
    squares = torch.stack(
        [number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]], dim=-1
    ).reshape(-1, 4)
    flat = points.reshape(-1, 3)
    known = torch.ones_like(number, dtype=torch.bool) if there is None else there
    valid = known.reshape(-1)[squares]
    whole, three = squares[valid.all(1)], squares[valid.sum(1) == 3]
    missing = (~valid[valid.sum(1) == 3]).int().argmax(1)
    falling, rising = (whole[:, split] for split in (_FALLING, _RISING))
    better = _cosines(flat, falling).amax((1, 2)) < _cosines(flat, rising).amax((1, 2))
    triangles = torch.cat(
        [
            three.gather(1, torch.tensor(_WITHOUT, device=points.device)[missing]),
            *falling[better].unbind(1),
            *rising[~better].unbind(1),
        ]
    )
    if most_cosine < 1:
        triangles = triangles[_cosines(flat, triangles).amax(1) <= most_cosine]
    if longest is not None:
        triangles = triangles[_sides(flat, triangles).norm(dim=-1).amax(1) <= longest]
    return triangles


def _sides(points: Tensor, triangles: Tensor) -> Tensor:
    """From each corner of triangles [..., 3] to the next one, [..., 3, 3]."""
    corners = points[triangles]
    return corners.roll(-1, -2) - corners


def _cosines(points: Tensor, triangles: Tensor) -> Tensor:
    """Cosine of each corner of triangles [..., 3], [..., 3]."""
    sides = _sides(points, triangles)
    return torch.cosine_similarity(sides, -sides.roll(1, -2), dim=-1, eps=1e-30)
