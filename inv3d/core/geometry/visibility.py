"""What a camera sees of points: by a depth map, or by the points themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera


def visible_points(
    camera: Camera, points: Tensor, size: int | tuple[int, int], tolerance: float
) -> tuple[Tensor, Tensor]:
    """Tell which points cameras see, where the points hide one another.

    The nearest point of each pixel hides those of the same pixel that lie more than `tolerance`
    behind it along the viewing axis. Points must be dense: at least one a pixel of their surface.
    The answer is yes or no, and has no gradient.

    Args:
        camera: N cameras.
        points: [N, P, 3] or [P, 3], world units.
        size: pixels a side of the picture in which they hide one another, or its height and width.
        tolerance: world units.

    Returns:
        Which points fall into the picture, in front of the camera, and which of these are seen;
        both bool [N, P].

    Example:
        >>> import inv3d, torch
        >>> camera = inv3d.CameraPrior(radius=2.7, focal=4.26).front()
        >>> points = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
        >>> inside, visible = inv3d.visible_points(camera, points, 64, 0.01)
        >>> inside.tolist(), visible.tolist()
        ([[True, True, False]], [[True, False, False]])
    """
    with torch.no_grad():
        uv, z = camera.project(points)
        inside = ((uv >= 0) & (uv < 1)).all(-1) & (z > 0)
        height, width = (size, size) if isinstance(size, int) else size
        sides = torch.tensor([width, height], device=uv.device, dtype=uv.dtype)
        pixel = torch.minimum((uv * sides).nan_to_num().clamp_min(0), sides - 1).long()
        flat = pixel[..., 1] * width + pixel[..., 0]
        depths = torch.where(inside, z, torch.inf)
        empty = torch.full((len(z), height * width), torch.inf, dtype=z.dtype, device=z.device)
        nearest = empty.scatter_reduce(1, flat, depths, "amin")
        return inside, inside & (z - nearest.gather(1, flat) <= tolerance)


def agrees(z: Tensor, surface: Tensor, tolerance: float, *, both_sides: bool = False) -> Tensor:
    """Tell which points lie no deeper than a surface, and so aren't hidden by it.

    Args:
        z: of the points along the viewing axis, world units.
        surface: z of what the camera sees in their direction, of the same shape; 0 is nothing,
            which hides nothing and shows nothing: such points don't count as seen.
        tolerance: world units; a point is seen at a smaller or equal distance behind the surface.
        both_sides: a point in front of the surface by more than the tolerance isn't seen either,
            since the depth of its own view and this one contradict each other.

    Returns:
        bool, of the same shape; it has no gradient.
    """
    behind = z.detach() - surface.detach()
    if both_sides:
        behind = behind.abs()
    return (behind <= tolerance) & (surface > 0) & (z > 0)
