"""Pictures carried from one view of a scene to another through its depth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.core.geometry.depth import axis_depth, pixel_centres
from inv3d.core.geometry.visibility import agrees

_CACHED_PIXELS = 1 << 18


@dataclass(frozen=True)
class Warped:
    """What N views show of a picture that was taken from elsewhere.

    Attributes:
        image: [N, C, H, W], the picture's colours at each pixel's point, also where the camera of
            the picture doesn't see that point; 0 where the point is outside of the picture.
        seen: [N, 1, H, W], 1 where the camera of the picture sees the point, else 0.
        uv: [N, H, W, 2], where in the picture the point is, 0 to 1.
    """

    image: Tensor
    seen: Tensor
    uv: Tensor


def look_up(images: Tensor, uv: Tensor, *, nearest: bool = False) -> Tensor:
    """Return the colours of pictures at positions, bilinear, 0 outside of the picture.

    Differentiable in pictures and positions.

    Args:
        images: [N or 1, C, H, W].
        uv: [N, h, w, 2], 0 to 1 from the upper left corner.
        nearest: take the nearest pixel; positions then get no gradient.

    Returns:
        [N, C, h, w].
    """
    images = images.expand(len(uv), -1, -1, -1)
    mode = "nearest" if nearest else "bilinear"
    return F.grid_sample(images, 2 * uv - 1, mode=mode, align_corners=False)


def reproject(camera: Camera, depth: Tensor, other: Camera) -> tuple[Tensor, Tensor]:
    """Return where other cameras see the points of depth maps; differentiable in all three.

    Args:
        camera: N cameras that the depth belongs to.
        depth: [N, 1, h, w], distance along the unit ray, world units.
        other: N cameras, or one.

    Returns:
        uv [N, h, w, 2], 0 to 1 in the other pictures, and z [N, h, w] along the other viewing axes;
        points with z <= 0 lie behind the other camera.
    """
    x, y, z = _homogeneous(camera, depth, other)
    return torch.stack([x / z, y / z], dim=-1), z


def _homogeneous(camera: Camera, depth: Tensor, other: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Return u * z, v * z and z of the points of depth maps in other pictures, each [N, h, w].

    A point is z * inverse(K) (u, v, 1) in its own camera; one matrix and one offset bring it into
    the other picture, so that each of its three coordinates costs two passes over the map.
    """
    z = axis_depth(camera, depth)[:, 0]
    back = other.rotation.transpose(1, 2)
    turn = other.intrinsics @ back @ camera.rotation @ torch.linalg.inv(camera.intrinsics)
    shift = (other.intrinsics @ back @ (camera.position - other.position)[..., None])[..., None]
    centres = pixel_centres(depth.shape[-2], depth.shape[-1], depth)
    u, v = centres[None, :1, :, 0], centres[None, :, :1, 1]
    rows = turn[..., None, None]
    across, up, ahead = (
        torch.addcmul(shift[:, k], rows[:, k, 0] * u + (rows[:, k, 1] * v + rows[:, k, 2]), z)
        for k in range(3)
    )
    return across, up, ahead


def warp_view(
    images: Tensor,
    camera: Camera,
    depth: Tensor,
    view: Camera,
    view_depth: Tensor,
    *,
    tolerance: float,
    both_sides: bool = False,
) -> Warped:
    """Carry pictures to other views of the same scene.

    Each pixel of a view is a point by the view's depth; it takes the colour that the picture shows
    where its camera sees that point, and counts as seen unless the picture's own depth says that
    something nearer hides it. The image is differentiable in pictures, depth of the view and
    cameras; what is seen is yes or no and has no gradient.

    Args:
        images: [N or 1, C, H, W], the pictures.
        camera: N cameras or one, that took them.
        depth: [N or 1, 1, h, w], their depth along the unit ray, world units, 0 where there's
            nothing; resized bilinearly.
        view: N cameras.
        view_depth: [N, 1, h', w'], depth of the views, of the same kind; resized bilinearly.
        tolerance: how far behind the picture's surface a point may lie and still count as seen,
            along the viewing axis, world units.
        both_sides: a point as far in front of the surface doesn't count as seen either.

    Returns:
        The views, as large as the pictures.

    Example:
        >>> import inv3d, torch
        >>> generator = inv3d.ToyGenerator(inv3d.ToyConfig())
        >>> capture = inv3d.toy_capture(generator, 2, yaw_deg=10)
        >>> one, other = capture.camera[0], capture.camera[1]
        >>> depths = capture.depths.split(1)
        >>> warped = inv3d.warp_view(
        ...     capture.images[:1], one, depths[0], other, depths[1], tolerance=0.05
        ... )
        >>> warped.image.shape, sorted(set(warped.seen.flatten().tolist()))
        (torch.Size([1, 3, 32, 32]), [0.0, 1.0])
    """
    size = tuple(images.shape[-2:])
    surface = axis_depth(camera, resized_depth(depth, size)).detach()
    shared = max(len(images), len(surface))
    both = torch.cat([images.expand(shared, -1, -1, -1), surface.expand(shared, -1, -1, -1)], 1)
    each = _views_at_a_time(both)
    parts = []
    for first in range(0, len(view), each):
        rows = slice(first, first + each)
        own = both if shared == 1 else both[rows]
        source = camera if len(camera) == 1 else camera[rows]
        there = resized_depth(view_depth[rows], size)
        image, found, uv, z = _carried(own, source, view[rows], there)
        inside = (uv - 0.5).abs().amax(-1) <= 0.5
        seen = inside & agrees(z, found, tolerance, both_sides=both_sides) & (there[:, 0] > 0)
        parts.append((image, seen[:, None].to(images.dtype), uv))
    return Warped(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _views_at_a_time(pictures: Tensor) -> int:
    """On a CPU so many that their maps stay in its cache; the result is the same."""
    pixels = pictures.shape[-2] * pictures.shape[-1]
    return max(1, _CACHED_PIXELS // pixels) if pictures.device.type == "cpu" else 1 << 30


def _carried(
    both: Tensor, camera: Camera, view: Camera, depth: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Look up picture and surface [N or 1, C + 1, H, W] at the points of views.

    Returns:
        image [N, C, H, W], surface [N, H, W], uv [N, H, W, 2] and z [N, H, W].
    """
    nothing = depth == 0
    # a point somewhere along the ray where there's none: its position stays a number
    uv, z = reproject(view, depth.masked_fill(nothing, 1), camera)
    found = look_up(both, uv)
    return found[:, :-1].masked_fill(nothing, 0), found[:, -1], uv, z


def resized_depth(depth: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return depth maps [N, 1, h, w] of another size, bilinear; whole where they have it already.

    Pixels whose neighbours include nothing (0) become nothing, for a mean of a depth and none lies
    on no surface.
    """
    if tuple(depth.shape[-2:]) == tuple(size):
        return depth
    larger = F.interpolate(depth, size, mode="bilinear", align_corners=False)
    if not bool((depth == 0).any()):
        return larger
    known = F.interpolate((depth > 0).to(depth), size, mode="bilinear", align_corners=False)
    return torch.where(known > 1 - 1e-4, larger, torch.zeros_like(larger))
