"""Which cells of tri-planes and tri-grids a camera sees the surface in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.nn.planes.triplane import PlaneAxes, project

# world units; far outside every box
_NOWHERE = 1e4


def visible_cells(
    depth: Tensor,
    mask: Tensor | None,
    camera: Camera,
    axes: PlaneAxes,
    box: float,
    size: int,
    slices: int | None = None,
) -> Tensor:
    """Return 1 in the cells of planes that cameras see the surface in, and in those beside them.

    What is left is occluded. The result weighs planes in `Scene.where`. Without gradient.

    Args:
        depth: [N, 1, h, h], along the unit rays, world units.
        mask: [N, 1, h, h], opacity; where it's below 0.5 there's no surface. None: everywhere.
        camera: N cameras that saw them.
        axes: which axes the planes span.
        box: side of the cube around the origin that the planes cover, world units.
        size: cells along each axis of a plane.
        slices: of a tri-grid.

    Returns:
        [N, 3, 1, size, size], of a tri-grid [N, 3, 1, slices, size, size].
    """
    depth = depth.detach()
    if mask is not None:
        depth = depth.where(mask >= 0.5, _NOWHERE)
    # two points a cell each way, since pixels are spread over more than the box
    points = surface_points(depth, camera, max(2 * size, depth.shape[-1]), jump=box / 10)
    return widen(cells_of(points, axes, box, size, slices))


def surface_points(depth: Tensor, camera: Camera, size: int, jump: float) -> Tensor:
    """Return the world points that cameras see, [N, size * size, 3].

    Args:
        depth: [N, 1, h, h], along the unit rays, world units; made finer bilinearly.
        camera: N cameras.
        size: points a side.
        jump: neighbours that differ by more are of two surfaces, between which there's nothing.
    """
    fine = F.interpolate(depth, (size, size), mode="bilinear", align_corners=False)
    nearest = F.interpolate(depth, (size, size), mode="nearest-exact")
    padded = F.pad(depth, (1, 1, 1, 1), mode="replicate")
    reach = F.max_pool2d(padded, 3, 1) + F.max_pool2d(-padded, 3, 1)
    apart = F.interpolate(reach, (size, size), mode="nearest-exact") > jump
    distance = torch.where(apart, nearest, fine)
    origins, directions = camera.rays(size)
    return origins + directions * distance.flatten(1)[..., None]


def cells_of(
    points: Tensor, axes: PlaneAxes, box: float, size: int, slices: int | None = None
) -> Tensor:
    """Return 1 in the cells where points lie, else 0: [N, 3, 1, size, size], for planes of a scene.

    A cell is a pixel of a plane; of a tri-grid, a pixel of a slice. Without gradient.

    Args:
        points: [N, P, 3], world units; those outside the box count nowhere.
        axes: which axes the planes span.
        box: side of the cube around the origin that the planes cover, world units.
        size: cells along each axis of a plane.
        slices: of a tri-grid; the result then is [N, 3, 1, slices, size, size].
    """
    depth = slices or 1
    at = project(points.detach() * (2 / box), axes, depth=True)  # [N, 3, P, 3]
    counts = torch.tensor([size, size, depth], device=at.device)
    inside = (at.abs() < 1).all(-1)
    column, row, layer = ((at + 1) / 2 * counts).long().unbind(-1)
    cell = (layer * size + row) * size + column
    marked = points.new_zeros(*cell.shape[:2], depth * size * size + 1)
    marked.scatter_(2, cell.where(inside, marked.shape[-1] - 1), 1.0)
    shape = (size, size) if slices is None else (depth, size, size)
    return marked[..., :-1].reshape(*cell.shape[:2], 1, *shape)


def widen(cells: Tensor, by: int = 1) -> Tensor:
    """Return cells with their neighbours within each plane or slice.

    Args:
        cells: [..., size, size], 0 or 1.
        by: cells in each direction.
    """
    maps = cells.flatten(0, -3)
    return F.max_pool2d(maps, 2 * by + 1, stride=1, padding=by).view_as(cells)
