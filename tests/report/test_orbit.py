"""Camera paths: closed, smooth, and within what the generator knows."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.camera import CameraPrior
from inv3d.core.errors import UsageError
from inv3d.report.orbit import ORBITS, default_orbit, orbit_path, strip

FACES = CameraPrior(radius=2.7, focal=4.2, pivot=(0, 0, 0.2), yaw_deg=40.0, pitch_deg=20.0)
HEADS = CameraPrior(radius=2.7, focal=4.2, yaw_deg=180.0, pitch_deg=28.0)


@pytest.mark.parametrize("prior", [FACES, HEADS])
@pytest.mark.parametrize("name", ORBITS)
def test_paths_begin_in_front_and_close_smoothly(name: str, prior: CameraPrior) -> None:
    camera = orbit_path(name, prior, 48)
    assert len(camera) == 48
    assert abs(float(camera.yaw[0])) < 1e-6
    closed = torch.cat([camera.position, camera.position[:1]])
    assert float(closed.diff(dim=0).norm(dim=1).max()) < 0.5
    pivot = torch.tensor([[prior.pivot]]).expand(48, 1, 3)
    torch.testing.assert_close(camera.project(pivot)[0], torch.full((48, 1, 2), 0.5))


@pytest.mark.parametrize("prior", [FACES, HEADS])
@pytest.mark.parametrize("name", ["front-sweep", "ellipse"])
def test_sweeps_keep_to_the_range(name: str, prior: CameraPrior) -> None:
    camera = orbit_path(name, prior, 60)
    assert float(camera.yaw.rad2deg().abs().max()) <= min(prior.yaw_deg, 90)
    assert float(camera.pitch.rad2deg().abs().max()) <= prior.pitch_deg
    assert float(camera.yaw.min()) == pytest.approx(-float(camera.yaw.max()), rel=1e-3)


def test_only_generators_that_know_all_sides_turn_around() -> None:
    assert default_orbit(FACES) == "front-sweep"
    assert default_orbit(HEADS) == "full"
    yaw = orbit_path("full", HEADS, 36).yaw.rad2deg()
    assert sorted(round(float(v)) % 360 for v in yaw) == list(range(0, 360, 10))


def test_the_strip_shows_all_that_the_generator_knows() -> None:
    heads, faces = strip(HEADS), strip(FACES)
    assert sorted(round(float(v)) for v in heads.yaw.rad2deg().abs()[:8]) == [
        *(0, 45, 45, 90, 90, 135, 135, 180),
    ]
    assert float(faces.yaw.rad2deg().abs().max()) <= 40
    assert float(faces.pitch[-2:].rad2deg().abs().max()) <= 20


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'ellipse'"):
        orbit_path("elipse", FACES, 8)
