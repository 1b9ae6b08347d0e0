"""A z-buffer rasteriser in batched torch: the same code runs on CPU and GPU.

Triangles are sorted into buckets by the size of their bounding box. All triangles of one bucket
are tested against all pixels of their boxes at once, and the nearest wins by an atomic maximum
over packed 64-bit keys: the bits of 1/z above, the triangle's number below. Winners are then
interpolated perspective-correctly and shaded by the mesh itself.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

try:
    from tools.minihead import zbuffer
except ImportError:  # numba only makes it faster
    zbuffer = None  # type: ignore[assignment]

TRIANGLE_BITS = 24
CLUSTER = 0.02  # world units: subsamples behind the nearest by more are another surface


class Shadeable(Protocol):
    """A batch of meshes of one topology.

    Attributes:
        vertices: [B, V, 3] world units.
        attributes: [B, V, C] interpolated over triangles.
        faces: [F, 3] indices, anticlockwise seen from outside.
        two_sided: [F] bool; other faces are culled when seen from behind.
    """

    vertices: Tensor
    attributes: Tensor
    faces: Tensor
    two_sided: Tensor

    def shade(self, head: Tensor, face: Tensor, attributes: Tensor) -> Tensor:
        """Colours [P, 3] in [0, 1] of P surface points: head [P], face [P], attributes [P, C]."""
        ...


def project(vertices: Tensor, cam2world: Tensor, focal: Tensor, size: int) -> Tensor:
    """Projects [N, V, 3] world points to pixel x, pixel y and camera depth z.

    Args:
        cam2world: [N, 4, 4], OpenCV axes.
        focal: [N], divided by the image size.
        size: image width and height in pixels.
    """
    offset = vertices - cam2world[:, None, :3, 3]
    # Written out, since a matrix product may run in reduced precision on a GPU.
    camera = sum(offset[..., k, None] * cam2world[:, None, k, :3] for k in range(3))
    depth = camera[..., 2:]
    pixels = (camera[..., :2] / depth * focal[:, None, None] + 0.5) * size
    return torch.cat([pixels, depth], -1)


def cover(points: Tensor, faces: Tensor, two_sided: Tensor, size: int) -> Tensor:
    """Returns the nearest face at each pixel, -1 where there is none.

    Args:
        points: [N, V, 3] from `project`.
        faces: [F, 3].
        two_sided: [F] bool.
        size: image width and height.

    Returns:
        [N, size, size] int64.
    """
    if zbuffer is not None and points.device.type == "cpu":
        return zbuffer.cover(points, faces, two_sided, size)
    return cover_torch(points, faces, two_sided, size)


def cover_torch(points: Tensor, faces: Tensor, two_sided: Tensor, size: int) -> Tensor:
    """`cover` in torch alone, for any device."""
    count = len(faces)
    x, y, z = points[:, faces].flatten(0, 1).unbind(-1)  # each [N * F, 3]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    left, right = _pixel_range(x, size)
    top, bottom = _pixel_range(y, size)
    extent = torch.maximum(right - left, bottom - top) + 1
    # Image y points down, so a face seen from outside has negative area.
    visible = (area < 0) | (two_sided.repeat(len(points)) & (area != 0))
    visible &= (right >= left) & (bottom >= top) & (z.amin(1) > 1e-3)
    keys = torch.full((len(points) * size * size,), -1, dtype=torch.int64, device=points.device)
    side, below = 1, 0
    while below < size:
        chosen = torch.nonzero(visible & (extent > below) & (extent <= side)).squeeze(1)
        for part in chosen.split(max(1, (1 << 24) // side**2)):
            _scatter(keys, part, side, x, y, z, area, left, top, size, count)
        below, side = side, side * 2
    return torch.where(keys < 0, keys, keys & ((1 << TRIANGLE_BITS) - 1)).view(-1, size, size)


def _pixel_range(coordinate: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and last pixel whose centre may lie in each triangle's extent."""
    first = torch.ceil(coordinate.amin(1) - 0.5).clamp(0, size)
    last = torch.floor(coordinate.amax(1) - 0.5).clamp(-1, size - 1)
    return first.long(), last.long()


def _scatter(
    keys: Tensor,
    part: Tensor,
    side: int,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    area: Tensor,
    left: Tensor,
    top: Tensor,
    size: int,
    count: int,
) -> None:
    """Enters the triangles `part`, whose boxes are at most `side` pixels wide, into `keys`."""
    step = torch.arange(side, device=x.device)
    column = left[part, None, None] + step
    row = top[part, None, None] + step[:, None]
    weights = _barycentric(
        x[part, :, None, None],
        y[part, :, None, None],
        area[part, None, None],
        column + 0.5,
        row + 0.5,
    )
    inverse = sum(w / z[part, i, None, None] for i, w in enumerate(weights))
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0)
    inside &= (column < size) & (row < size)
    image = torch.div(part, count, rounding_mode="floor")[:, None, None]
    pixel = (image * size + row) * size + column
    # The bits of a positive float grow with it, so they order the keys by nearness.
    nearness = inverse.float()[inside].view(torch.int32).long()
    face = (part % count)[:, None, None].expand_as(inside)[inside]
    key = (nearness << TRIANGLE_BITS) | face
    keys.scatter_reduce_(0, pixel.expand_as(inside)[inside], key, "amax")


def _barycentric(
    x: Tensor, y: Tensor, area: Tensor, column: Tensor, row: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Screen-space weights of the corners (dimension 1 of `x` and `y`)."""
    x0, x1, x2 = x.unbind(1)
    y0, y1, y2 = y.unbind(1)
    w0 = ((x1 - column) * (y2 - row) - (x2 - column) * (y1 - row)) / area
    w1 = ((x2 - column) * (y0 - row) - (x0 - column) * (y2 - row)) / area
    return w0, w1, 1 - w0 - w1


def surface(
    mesh: Shadeable, points: Tensor, triangle: Tensor, head: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Interpolates the winners of `cover`.

    Args:
        points: [N, V, 3] projected vertices.
        triangle: [N, S, S] from `cover`.
        head: [N] row of the mesh batch that each image shows.

    Returns:
        flat pixel numbers [P], camera depths [P], heads [P] and attributes [P, C].
    """
    size = triangle.shape[-1]
    pixel = torch.nonzero(triangle.flatten() >= 0).squeeze(1)
    image = torch.div(pixel, size * size, rounding_mode="floor")
    corners = mesh.faces[triangle.flatten()[pixel]]  # [P, 3]
    seen = points.flatten(0, 1).index_select(
        0, (image[:, None] * points.shape[1] + corners).view(-1)
    )
    x, y, z = seen.view(-1, 3, 3).unbind(-1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    column = pixel % size + 0.5
    row = torch.div(pixel, size, rounding_mode="floor") % size + 0.5
    weights = torch.stack(_barycentric(x, y, area, column, row), 1) / z
    depth = 1 / weights.sum(1)
    heads = head[image]
    flat = mesh.attributes.flatten(0, 1)
    rows = heads * mesh.attributes.shape[1]
    values = sum(
        flat.index_select(0, rows + corners[:, k]) * (weights[:, k] * depth)[:, None]
        for k in range(3)
    )
    return pixel, depth, heads, values


def ray_length(size: int, focal: Tensor) -> Tensor:
    """Length [N, size, size] of each pixel's ray whose camera z is one; focal: [N]."""
    offset = ((torch.arange(size, device=focal.device) + 0.5) / size - 0.5) / focal[:, None]
    return torch.sqrt(1 + offset[:, :, None] ** 2 + offset[:, None, :] ** 2)


@torch.no_grad()
def render(
    mesh: Shadeable,
    cam2world: Tensor,
    focal: float | Tensor,
    resolution: int,
    supersample: int = 2,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Renders every mesh of the batch from its own cameras, on white.

    Args:
        mesh: a batch of n meshes.
        cam2world: [n, V, 4, 4].
        focal: one number or [n, V], divided by the image size.
        resolution: R.
        supersample: subsamples a pixel along each axis.
        chunk: images rendered at once; by default what about 3 GB (GPU) or 0.5 GB (CPU) hold.

    Returns:
        rgb [n, V, 3, R, R] in [0, 1], mask [n, V, 1, R, R] coverage, depth [n, V, 1, R, R]:
        distance along the unit ray to the nearest surface within the pixel, 0 where none.
    """
    count, views = cam2world.shape[:2]
    cameras = cam2world.flatten(0, 1).to(mesh.vertices)
    focals = torch.as_tensor(focal, dtype=cameras.dtype, device=cameras.device)
    focals = focals.expand(count, views).flatten()
    heads = torch.arange(count, device=cameras.device).repeat_interleave(views)
    if chunk is None:
        chunk = 64 if cameras.is_cuda else 8
        chunk = max(1, chunk * 256**2 // max(256, resolution * supersample) ** 2)
    parts = [
        _render_images(mesh, *part, resolution, supersample)
        for part in zip(cameras.split(chunk), focals.split(chunk), heads.split(chunk), strict=True)
    ]
    return {k: torch.cat([p[k] for p in parts]).unflatten(0, (count, views)) for k in parts[0]}


def _render_images(
    mesh: Shadeable, cameras: Tensor, focal: Tensor, head: Tensor, resolution: int, samples: int
) -> dict[str, Tensor]:
    size = resolution * samples
    points = project(mesh.vertices[head], cameras, focal, size)
    triangle = cover(points, mesh.faces, mesh.two_sided, size)
    pixel, depth, heads, values = surface(mesh, points, triangle, head)
    colour = torch.ones(triangle.numel(), 3, device=points.device)
    colour[pixel] = mesh.shade(heads, triangle.flatten()[pixel], values)
    distance = torch.full((triangle.numel(),), torch.inf, device=points.device)
    distance[pixel] = depth * ray_length(size, focal).flatten()[pixel]
    blocks = _blocks(distance.view(-1, 1, size, size), samples)
    return {
        "rgb": _blocks(colour.view(-1, size, size, 3).permute(0, 3, 1, 2), samples).mean(-1),
        "mask": blocks.isfinite().float().mean(-1),
        "depth": front_depth(blocks),
    }


def _blocks(image: Tensor, samples: int) -> Tensor:
    """[N, C, S, S] -> [N, C, S / samples, S / samples, samples ** 2]."""
    size = image.shape[-1] // samples
    split = image.reshape(*image.shape[:2], size, samples, size, samples)
    return split.transpose(3, 4).flatten(-2)


def front_depth(distance: Tensor) -> Tensor:
    """Mean of the subsamples on the nearest surface: a pixel on an edge belongs to one surface.

    Args:
        distance: [..., K], infinite where a subsample hits nothing.

    Returns:
        [...], 0 where no subsample hits.
    """
    front = distance < distance.amin(-1, keepdim=True) + CLUSTER
    total = torch.where(front, distance, 0).sum(-1)
    return total / front.sum(-1).clamp(min=1)
