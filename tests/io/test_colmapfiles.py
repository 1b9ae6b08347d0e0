"""What is written as COLMAP's text is read back as the same cameras."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from inv3d.core.camera import orbit
from inv3d.io.cameras import read_cameras
from inv3d.io.colmapfiles import quaternion, write_colmap


def test_cameras_come_back(tmp_path: Path) -> None:
    yaw = torch.tensor([-170.0, -60.0, 0.0, 30.0, 179.0]).double().deg2rad()
    camera = orbit(yaw, 0.2, radius=2.7, focal=4.2647)
    names = [f"{i}.png" for i in range(5)]
    write_colmap(tmp_path / "sparse" / "0", camera, names, 128)
    found, found_names = read_cameras(tmp_path / "sparse" / "0" / "images.txt")
    assert list(found_names) == names
    torch.testing.assert_close(found.cam2world.double(), camera.cam2world, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.intrinsics.double(), camera.intrinsics, atol=1e-5, rtol=0)
    assert (tmp_path / "sparse" / "0" / "points3D.txt").is_file()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("turn", [0.0, 0.5, math.pi])
def test_quaternions(axis: int, turn: float) -> None:
    vector = torch.zeros(3).double()
    vector[axis] = turn
    x, y, z = vector.tolist()
    rotation = torch.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]]).double())
    w, *rest = quaternion(rotation)
    assert w == pytest.approx(math.cos(turn / 2), abs=1e-6)
    assert abs(rest[axis]) == pytest.approx(math.sin(turn / 2), abs=1e-6)
