"""Meshes: the right surface, outward, coloured, in every format."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from inv3d.core.errors import ConfigError, InputError, InvError, UsageError
from inv3d.core.scene import Scene
from inv3d.io import mesh as meshes
from inv3d.io.mesh import Mesh, extract_mesh, surface_density, write_mesh

RADIUS = 0.3
SCENE = Scene({}, torch.zeros(1, 1, 1))


class Ball:
    """A soft ball (or several, or a shell) whose colour is its position."""

    def __init__(self, *centres: tuple[float, float, float], hollow: float = 0.0) -> None:
        self.spec = SimpleNamespace(box=1.0)
        self.centres = centres or ((0.0, 0.0, 0.0),)
        self.hollow = hollow
        self.largest_call = 0
        self.density_alone = 0

    def sample(self, scene: Scene, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.largest_call = max(self.largest_call, points.shape[1])
        radii = (RADIUS, 0.1)
        inside = torch.zeros(points.shape[:2])
        for radius, centre in zip(radii, self.centres, strict=False):
            distance = (points - torch.tensor(centre)).norm(dim=-1)
            inside += torch.sigmoid((radius - distance) * 100)
            inside -= torch.sigmoid((self.hollow - distance) * 100) if self.hollow else 0
        return inside * 100, points + 0.5

    def sample_density(self, scene: Scene, points: torch.Tensor) -> torch.Tensor:
        self.density_alone += points.shape[1]
        return self.sample(scene, points)[0]


def volume_of(mesh: Mesh) -> float:
    return float(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume)


def test_a_ball_has_its_radius_and_looks_outwards() -> None:
    mesh = extract_mesh(Ball(), SCENE, resolution=48, level=50.0)
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert np.abs(radius - RADIUS).max() < 0.003
    assert volume_of(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)


def test_colours_are_those_of_the_surface() -> None:
    mesh = extract_mesh(Ball(), SCENE, resolution=32)
    np.testing.assert_allclose(mesh.colours, mesh.vertices + 0.5, atol=1e-6)


def test_the_grid_is_asked_for_density_alone() -> None:
    ball = Ball()
    extract_mesh(ball, SCENE, resolution=16)
    assert ball.density_alone == 16**3


def test_only_the_largest_piece_is_kept() -> None:
    balls = Ball((0.0, 0.0, 0.0), (0.4, 0.4, 0.4))
    one = extract_mesh(balls, SCENE, resolution=48, level=50.0)
    both = extract_mesh(balls, SCENE, resolution=48, level=50.0, largest=False)
    assert one.vertices.max() < 0.32
    assert both.vertices.max() > 0.45
    assert volume_of(both) > volume_of(one)


def test_hollows_are_filled_with_the_largest_piece() -> None:
    shell = Ball(hollow=0.15)
    solid = extract_mesh(shell, SCENE, resolution=48, level=50.0)
    both = extract_mesh(shell, SCENE, resolution=48, level=50.0, largest=False)
    assert np.linalg.norm(solid.vertices, axis=1).min() > 0.29
    assert np.linalg.norm(both.vertices, axis=1).min() < 0.16


def test_what_touches_the_box_is_closed() -> None:
    mesh = extract_mesh(Ball((0.0, -0.5, 0.0)), SCENE, resolution=32, level=50.0)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).is_watertight


def test_a_smooth_mesh_keeps_its_size() -> None:
    mesh = extract_mesh(Ball(), SCENE, resolution=32, level=50.0, smooth=5)
    assert volume_of(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.05)


def test_memory_is_bounded_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = extract_mesh(Ball(), SCENE, resolution=24)
    monkeypatch.setattr(meshes, "POINTS_AT_ONCE", 1000)
    ball = Ball()
    chunked = extract_mesh(ball, SCENE, resolution=24)
    assert ball.largest_call == 1000
    np.testing.assert_array_equal(whole.vertices, chunked.vertices)
    np.testing.assert_array_equal(whole.colours, chunked.colours)


def test_no_surface_is_an_error_that_names_the_level() -> None:
    with pytest.raises(InvError, match=r"reaches 100 at most.*--level") as raised:
        extract_mesh(Ball(), SCENE, resolution=16, level=1000.0)
    assert raised.value.exit_code == 1, "the command line is right"


def test_the_default_level_is_half_opaque_over_a_thirty_second_of_the_box() -> None:
    assert 1 - np.exp(-surface_density(2.0) * 2.0 / 32) == pytest.approx(0.5)


@pytest.mark.parametrize("form", ["ply", "obj", "glb", "stl"])
def test_every_format_loads_back(tmp_path: Path, form: str) -> None:
    mesh = extract_mesh(Ball(), SCENE, resolution=24)
    path = tmp_path / f"head.{form}"
    write_mesh(mesh, path)
    loaded = next(iter(trimesh.load_scene(path, process=False).geometry.values()))
    assert len(loaded.faces) == len(mesh.faces)
    np.testing.assert_allclose(loaded.bounds, [mesh.vertices.min(0), mesh.vertices.max(0)], 1e-4)
    assert loaded.volume > 0
    if form != "stl":
        expected = meshes._linear(mesh.colours) if form == "glb" else mesh.colours
        assert loaded.visual.kind == "vertex"
        colours = np.asarray(loaded.visual.vertex_colors)[:, :3] / 255
        np.testing.assert_allclose(colours, expected, atol=0.003)


def test_glb_has_vertex_colours_as_its_standard_wants_them(tmp_path: Path) -> None:
    mesh = extract_mesh(Ball(), SCENE, resolution=16)
    write_mesh(mesh, tmp_path / "a.glb")
    data = (tmp_path / "a.glb").read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    (primitive,) = tree["meshes"][0]["primitives"]
    assert "material" not in primitive
    colours = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    assert (colours["type"], colours["componentType"], colours["normalized"]) == (
        "VEC4",
        5121,
        True,
    )
    assert colours["count"] == len(mesh.vertices)


def test_an_unknown_format_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    mesh = extract_mesh(Ball(), SCENE, resolution=16)
    with pytest.raises(UsageError, match="did you mean 'glb'"):
        write_mesh(mesh, tmp_path / "a.gltb")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("resolution", value) for value in (1, 0, -1)),
        *(("level", value) for value in (float("nan"), float("inf"))),
        ("smooth", -1),
    ],
)
def test_an_option_out_of_range_is_one_line(option: str, value: float) -> None:
    given = {"resolution": 16, "level": 50.0, option: value}
    with pytest.raises(ConfigError, match=f"^{option}: found {value}, expected"):
        extract_mesh(Ball(), SCENE, **given)


@pytest.mark.parametrize("count", [0, 2])
def test_a_mesh_is_made_of_one_scene(count: int) -> None:
    scenes = Scene({}, torch.zeros(count, 1, 1))
    with pytest.raises(InputError, match=rf"^scene: found {count} scenes, expected one; "):
        extract_mesh(Ball(), scenes, resolution=16)


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    write_mesh(extract_mesh(Ball(), SCENE, resolution=16), str(tmp_path / "a.obj"))
    assert (tmp_path / "a.obj").stat().st_size
