"""Coloured meshes out of scenes: marching cubes on the density, written by trimesh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from inv3d.core.arguments import PATH, expect
from inv3d.core.errors import ConfigError, InputError, InvError, UsageError, suggest
from inv3d.core.files import atomic_write
from inv3d.core.scene import Scene
from inv3d.io.formats import MESH_FORMATS

if TYPE_CHECKING:
    from torch import Tensor

    from inv3d.core.generator import Generator

POINTS_AT_ONCE = 1 << 19
SEGMENT = 1 / 32
SURFACE_OPACITY = 0.5


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in world units, y up, faces counter-clockwise seen from outside.

    Attributes:
        vertices: [V, 3].
        faces: [F, 3] indices of vertices.
        colours: [V, 3] in [0, 1], sRGB as the generator renders them.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    colours: NDArray[np.float32]


def surface_density(box: float, opacity: float = SURFACE_OPACITY) -> float:
    """Return the density at which a thirty-second of the box is as opaque as asked.

    Args:
        box: side of the volume, world units.
        opacity: in (0, 1).
    """
    return -math.log1p(-opacity) / (box * SEGMENT)


@torch.no_grad()
def extract_mesh(
    generator: Generator,
    scene: Scene,
    *,
    resolution: int = 128,
    level: float | None = None,
    largest: bool = True,
    smooth: int = 0,
) -> Mesh:
    """Return the surface of one scene, with the colours that the generator has there.

    Memory is bounded by the grid (4 bytes a cell) and a fixed number of points at a time.

    Args:
        generator: that made the scene.
        scene: one.
        resolution: grid points a side of the generator's box, 2 or more.
        level: density (opacity a world unit) of the surface; by default the one at which a
            thirty-second of the box is half opaque.
        largest: keep only the largest connected piece, and nothing inside it.
        smooth: rounds of Taubin smoothing, which doesn't shrink the mesh.

    Raises:
        ConfigError: where `scene` is something else, or resolution, level or rounds are out of
            range.
        InputError: where there are several scenes.
        InvError: where the density never reaches the level.
    """
    _check_grid(scene, resolution, level, smooth)
    level = surface_density(generator.spec.box) if level is None else level
    density = _density_grid(generator, scene, resolution)
    if not bool((density > level).any()):
        raise InvError(
            f"no surface: the density reaches {float(density.max()):.3g} at most, below the level "
            f"{level:.3g}; give a lower --level"
        )
    if largest:
        density = _largest_piece(density, level)
    vertices, faces = _march(density, level, generator.spec.box)
    if smooth:
        vertices = _smoothed(vertices, faces, smooth)
    return Mesh(vertices, faces, _colours(generator, scene, vertices))


def _check_grid(scene: Scene, resolution: int, level: float | None, smooth: int) -> None:
    expect("scene", scene, Scene, "a Scene, such as inversion.scene_for(generator, camera)")
    if len(scene) != 1:
        raise InputError(f"scene: found {len(scene)} scenes, expected one; give scene[[0]]")
    if resolution < 2:
        raise ConfigError(f"resolution: found {resolution}, expected 2 or more grid points a side")
    if level is not None and not math.isfinite(level):
        raise ConfigError(f"level: found {level}, expected a finite density, or None")
    if smooth < 0:
        raise ConfigError(f"smooth: found {smooth}, expected 0 or more rounds")


def _density_grid(generator: Generator, scene: Scene, resolution: int) -> NDArray[np.float32]:
    """Density [R, R, R] (x, y, z) at grid points that span the box."""
    axis = _axis(resolution, generator.spec.box).to(scene.ws)
    grid = torch.empty(resolution**3, dtype=torch.float32)
    for start in range(0, resolution**3, POINTS_AT_ONCE):
        index = torch.arange(start, min(start + POINTS_AT_ONCE, resolution**3), device=axis.device)
        x, rest = index // resolution**2, index % resolution**2
        points = torch.stack([axis[x], axis[rest // resolution], axis[rest % resolution]], dim=1)
        density = generator.sample_density(scene, points[None])
        grid[start : start + len(index)] = density[0].float().cpu()
    return grid.view(resolution, resolution, resolution).numpy()


def _axis(resolution: int, box: float) -> Tensor:
    return torch.linspace(-box / 2, box / 2, resolution)


def _largest_piece(density: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Empty all but the largest solid piece, and fill the hollows within it."""
    from skimage.measure import label

    solid = density > level
    pieces = label(solid, connectivity=1)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = np.where(solid & (pieces != sizes.argmax()), np.float32(0), density)
    outside = label(np.pad(kept <= level, 1, constant_values=True), connectivity=1)
    hollow = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1] & (kept <= level)
    return np.where(hollow, kept.max(), kept)


def _march(
    density: NDArray[np.float32], level: float, box: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Marching cubes in world units; an empty border closes what touches the box."""
    from skimage.measure import marching_cubes

    spacing = box / (density.shape[0] - 1)
    padded = np.pad(density, 1, constant_values=0.0)
    vertices, faces, _, _ = marching_cubes(padded, level, spacing=(spacing,) * 3)
    vertices = vertices - spacing - box / 2
    corners = vertices[faces]
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    faces = faces if volume >= 0 else faces[:, ::-1]
    return vertices.astype(np.float32), np.ascontiguousarray(faces, dtype=np.int64)


def _smoothed(
    vertices: NDArray[np.float32], faces: NDArray[np.int64], rounds: int
) -> NDArray[np.float32]:
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=2 * rounds)
    return np.asarray(mesh.vertices, dtype=np.float32)


def _colours(
    generator: Generator, scene: Scene, vertices: NDArray[np.float32]
) -> NDArray[np.float32]:
    points = torch.from_numpy(vertices).to(scene.ws)
    parts = [
        generator.sample(scene, chunk[None])[1][0].float().cpu()
        for chunk in torch.split(points, POINTS_AT_ONCE)
    ]
    return torch.cat(parts).clamp(0, 1).numpy()


def mesh_format(path: Path, given: str | None = None) -> str:
    """Return the format to write, from an option or from the file's ending.

    Raises:
        UsageError: where it's none of the known formats.
    """
    name = (given or path.suffix.removeprefix(".")).lower()
    if name not in MESH_FORMATS:
        raise UsageError(f"unknown mesh format '{name}' for {path}{suggest(name, MESH_FORMATS)}")
    return name


def write_mesh(mesh: Mesh, path: Path | str, form: str | None = None) -> None:
    """Write a mesh; colours are kept in all formats but STL, which has none.

    GLB holds linear colours as its standard demands, the other formats sRGB.

    Args:
        mesh: what to write.
        path: the file; missing folders are made.
        form: glb, obj, ply or stl; from the file's ending if None.

    Raises:
        ConfigError: where `mesh` or `path` is something else.
        UsageError: where the format is unknown.
        RunError: where the file can't be written.
    """
    import trimesh

    expect("mesh", mesh, Mesh, "a Mesh, as inv3d.extract_mesh returns it")
    expect("path", path, PATH, "the path of a file")
    path = Path(path)
    form = mesh_format(path, form)
    colours = _linear(mesh.colours) if form == "glb" else mesh.colours
    alpha = np.ones((len(colours), 1), dtype=np.float32)
    rgba = np.round(np.hstack([colours, alpha]) * 255).astype(np.uint8)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=rgba, process=False)
    if form == "glb":
        # no material: a reader that finds one, such as trimesh, leaves vertex colours aside
        data = trimesh.exchange.gltf.export_glb(solid.scene(), include_normals=True)
    else:
        data = solid.export(file_type=form)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def _linear(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
