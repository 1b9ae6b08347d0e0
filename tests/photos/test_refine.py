"""Cameras that the generator itself refines."""

from __future__ import annotations

import pytest
import torch

from inv3d.core.generator import load_generator
from inv3d.nn.face.square import Square
from inv3d.photos.refine import Moves, moved_cameras, refine
from inv3d.plugins.generators.minihead import ALIGNMENT


def one_move() -> Moves:
    return Moves(
        angles=torch.tensor([[0.1, -0.05]]),
        roll=torch.tensor([0.2]),
        place=torch.tensor([[0.04, -0.03]]),
        size=torch.tensor([0.15]),
    )


def test_a_moved_camera_sees_in_its_crop_what_the_changed_crop_shows() -> None:
    """A point lies in the uncorrected crop where the moved camera projects it."""
    angles = torch.tensor([[0.3, 0.1]])
    moves, old = one_move(), Square(200.0, 150.0, 90.0, 0.1)
    points = torch.rand(1, 6, 3, generator=torch.Generator().manual_seed(1)) * 0.4 - 0.2
    plain = moved_cameras(ALIGNMENT, angles + moves.angles, Moves.none(1))
    uv, _ = plain.project(points)  # in the changed crop, which is as the generator has them
    pixels = moves.square(0, old).to_picture(uv[0].double())
    found, _ = moved_cameras(ALIGNMENT, angles, moves).project(points)
    torch.testing.assert_close(old.to_picture(found[0].double()), pixels, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_rendered_head_gets_its_cameras_back() -> None:
    generator = load_generator("minihead", {"render_resolution": 16, "samples": 8})
    rng = torch.Generator().manual_seed(5)
    z = torch.randn(1, generator.spec.z_dim, generator=rng)
    yaw = torch.tensor([-0.6, -0.2, 0.2, 0.6])
    true = torch.stack([yaw, torch.zeros(4)], 1)
    with torch.no_grad():
        scene = generator.synthesize(generator.map(z, None, 0.5))
        camera = moved_cameras(ALIGNMENT, true, Moves.none(4))
        images = generator.render(scene, camera).require("image")
    wrong = true + torch.tensor([[0.07, 0.0], [-0.05, 0.03], [0.05, 0.0], [-0.07, -0.03]])
    steps: list[int] = []
    moves = refine(generator, ALIGNMENT, images, wrong, 30, lambda done, _: steps.append(done))
    before = (wrong - true)[:, 0].abs().mean()
    after = (wrong + moves.angles - true)[:, 0].abs().mean()
    assert steps == list(range(1, 31)) and float(after) < 0.8 * float(before)
