"""Mesh topology in torch: subdivision as a sparse matrix, normals, boundary loops."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def catmull_clark(quads: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """One Catmull-Clark step over `count` vertices; boundaries keep their vertices.

    Returns:
        a sparse COO matrix [fine vertices, count] and the fine quads [4 F, 4]. The first quarter
        of the fine quads lies at the first corner of each quad, and so on.
    """
    number = len(quads)
    ends = torch.stack([quads, quads.roll(-1, 1)], -1).view(-1, 2).sort(1).values
    edges, edge_of_side, sides = torch.unique(ends, dim=0, return_inverse=True, return_counts=True)
    inner = sides == 2
    face = _sparse(torch.arange(number).repeat_interleave(4), quads.flatten(), 0.25, number, count)
    middle = _sparse(
        torch.arange(len(edges)).repeat_interleave(2), edges.flatten(), 0.5, len(edges), count
    )
    side_face = torch.arange(number).repeat_interleave(4)
    near = _sparse(edge_of_side, side_face, 0.5, len(edges), number)
    edge_point = _scale(middle, torch.where(inner, 0.5, 1.0)) + _scale(
        _product(near, face), torch.where(inner, 0.5, 0.0)
    )
    vertex_point = _vertex_points(quads, edges, inner, face, middle, count)
    matrix = torch.cat([vertex_point, edge_point.coalesce(), face.coalesce()]).coalesce()
    side = edge_of_side.view(number, 4)
    centre = count + len(edges) + torch.arange(number)
    fine = [
        torch.stack([quads[:, k], count + side[:, k], centre, count + side[:, k - 1]], 1)
        for k in range(4)
    ]
    return matrix, torch.cat(fine)


def _sparse(row: Tensor, column: Tensor, value: float, rows: int, columns: int) -> Tensor:
    values = torch.full((len(row),), value)
    return torch.sparse_coo_tensor(
        torch.stack([row, column]), values, (rows, columns), check_invariants=True
    ).coalesce()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Product of two sparse matrices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "CSR support is in beta", internally
        return torch.sparse.mm(a, b)


def _scale(matrix: Tensor, rows: Tensor) -> Tensor:
    """Multiplies each row of a sparse matrix by a number."""
    matrix = matrix.coalesce()
    values = matrix.values() * rows[matrix.indices()[0]]
    return torch.sparse_coo_tensor(
        matrix.indices(), values, matrix.shape, check_invariants=True
    ).coalesce()


def _vertex_points(
    quads: Tensor, edges: Tensor, inner: Tensor, face: Tensor, middle: Tensor, count: int
) -> Tensor:
    """New positions of the old vertices: (F + 2 R + (n - 3) P) / n, boundary vertices fixed."""
    number = len(quads)
    at_face = _sparse(
        quads.flatten(), torch.arange(number).repeat_interleave(4), 1.0, count, number
    )
    at_edge = _sparse(
        edges.flatten(), torch.arange(len(edges)).repeat_interleave(2), 1.0, count, len(edges)
    )
    valence = torch.bincount(edges.flatten(), minlength=count).clamp(min=1).float()
    around = torch.bincount(quads.flatten(), minlength=count).clamp(min=1).float()
    fixed = torch.zeros(count, dtype=torch.bool)
    fixed[edges[~inner].flatten()] = True
    free = (~fixed).float()
    identity = _sparse(torch.arange(count), torch.arange(count), 1.0, count, count)
    return (
        _scale(_product(at_face, face), free / valence / around)
        + _scale(_product(at_edge, middle), free * 2 / valence**2)
        + _scale(identity, torch.where(fixed, 1.0, (valence - 3) / valence))
    ).coalesce()


def triangles(quads: Tensor) -> Tensor:
    """Splits quads [F, 4] into triangles [2 F, 3]; first all first halves, then all second."""
    return torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals [B, V, 3] of `vertices` [B, V, 3] with triangles [F, 3]."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    normal = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total.index_add_(1, faces[:, k], normal)
    return total / total.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def boundary_loop(quads: Tensor) -> Tensor:
    """Directed boundary edges [E, 2] of a quad mesh, in the direction of their quad."""
    ends = torch.stack([quads, quads.roll(-1, 1)], -1).view(-1, 2)
    _, inverse, sides = torch.unique(
        ends.sort(1).values, dim=0, return_inverse=True, return_counts=True
    )
    return ends[sides[inverse] == 1]
