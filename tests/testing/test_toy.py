"""The toy generator's answers are the right ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.scene import Scene
from inv3d.testing.toy import BLOBS, FAR, ToyConfig, ToyGenerator, toy_capture, toy_latents


def _generator(**options: str) -> ToyGenerator:
    return ToyGenerator(ToyConfig(**options)).double()  # type: ignore[arg-type]


def _scene(generator: ToyGenerator, count: int = 1) -> Scene:
    return generator.synthesize(toy_latents(generator, count, seed=4, motion=1.0))


def _one_blob(generator: ToyGenerator, centre: list[float]) -> Scene:
    """One opaque blob; the others far behind the wall and clear."""
    scene = _scene(generator)
    centres = torch.full((1, BLOBS, 3), 50.0, dtype=torch.float64)
    centres[0, 0] = torch.tensor(centre)
    looks = torch.zeros(1, BLOBS, 5, dtype=torch.float64)
    looks[0, 0, 4] = math.log(100.0)
    looks[0, 1:, 4] = -50.0
    return Scene({"centres": centres, "looks": looks}, scene.ws.detach())


def _cameras(count: int, limit: float = 1.0) -> Camera:
    cameras = ToyGenerator(ToyConfig()).spec.camera.orbit(torch.linspace(limit, -limit, count))
    return cameras.to(dtype=torch.float64)


def test_it_is_small_and_the_same_every_time() -> None:
    generator = ToyGenerator(ToyConfig())
    assert 1000 < sum(p.numel() for p in generator.parameters()) < 5000
    assert generator.spec.fingerprint == ToyGenerator(ToyConfig()).spec.fingerprint
    assert generator.spec.fingerprint != ToyGenerator(ToyConfig(seed=1)).spec.fingerprint


def test_shapes_and_ranges() -> None:
    generator = _generator()
    names = ("image", "raw", "depth", "mask", "features")
    seen = generator.render(_scene(generator, 2), _cameras(6), outputs=names)
    assert seen.require("image").shape == (6, 3, 32, 32) and seen.require("raw").shape[-1] == 16
    assert seen.require("depth").shape == seen.require("mask").shape == (6, 1, 16, 16)
    assert seen.require("image").abs().max() <= 1
    assert (seen.require("mask") >= 0).all() and (seen.require("mask") <= 1).all()
    assert seen.ws is not None and seen.ws.shape == (6, 4, 8)
    depth_only = generator.render(_scene(generator), _cameras(2), outputs=("depth",))
    assert depth_only.image is None and depth_only.mask is None


def test_views_of_one_scene_are_those_of_single_renders() -> None:
    generator, cameras = _generator(), _cameras(4)
    scenes = _scene(generator, 2)
    batch = generator.render(scenes, cameras).require("image")
    for view in range(4):
        single = generator.render(scenes[[view // 2]], cameras[view]).require("image")
        assert torch.allclose(batch[view : view + 1], single)
    with pytest.raises(ValueError, match="4 cameras can't be shared by 3 scenes"):
        generator.render(_scene(generator, 3), cameras)


def test_depth_and_projection_of_a_single_blob() -> None:
    """The ray through an opaque blob's centre has the distance to the centre as its depth."""
    generator, centre = _generator(), [0.12, -0.07, 0.2]
    cameras, size = _cameras(5), 64
    seen = generator.render(
        _one_blob(generator, centre), cameras, outputs=("depth", "mask"), resolution=size
    )
    point = torch.tensor(centre, dtype=torch.float64)
    uv, _ = cameras.project(point[None])
    pixel = (uv[:, 0] * size).long()
    for view, (column, row) in enumerate(pixel.tolist()):
        distance = (point - cameras.position[view]).norm()
        assert seen.require("depth")[view, 0, row, column] == pytest.approx(
            float(distance), abs=1e-3
        )
        assert seen.require("mask")[view, 0, row, column] > 0.999
        mask = seen.require("mask")[view, 0]
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        centroid = [(mask * grid).sum() / mask.sum() for grid in (rows, columns)]
        assert abs(float(centroid[0]) - row) < 1.5 and abs(float(centroid[1]) - column) < 1.5
    assert seen.require("depth")[:, 0, 0, 0].min() == pytest.approx(FAR, abs=1e-6)


def test_opacity_is_the_integral_of_the_density() -> None:
    generator = _generator()
    scene = _scene(generator)
    camera = _cameras(1)
    seen = generator.render(scene, camera, outputs=("mask",))
    origins, directions = camera.rays(16)
    t = torch.linspace(1.0, 5.0, 2001, dtype=torch.float64)
    points = origins[:, :, None] + directions[:, :, None] * t[:, None]
    density, colour = generator.sample(scene, points.reshape(1, -1, 3))
    thickness = torch.trapezoid(density.reshape(256, -1), t, dim=1)
    assert torch.allclose(seen.require("mask").flatten(), 1 - torch.exp(-thickness), atol=1e-6)
    assert (colour >= 0).all() and (colour <= 1).all()


def test_nearer_blob_hides_the_farther_one() -> None:
    generator = _generator()
    scene = _one_blob(generator, [0.0, 0.0, 0.3])
    centres, looks = scene.parts["centres"].clone(), scene.parts["looks"].clone()
    centres[0, 1] = torch.tensor([0.0, 0.0, -0.3])
    looks[0, 1] = looks[0, 0]
    looks[0, 0, 1:4], looks[0, 1, 1:4] = 3.0, -3.0
    both = Scene({"centres": centres, "looks": looks}, scene.ws)
    front_and_back = generator.spec.camera.orbit(torch.tensor([0.0, math.pi])).to(
        dtype=torch.float64
    )
    raw = generator.render(both, front_and_back, outputs=("raw",), resolution=17).require("raw")
    assert raw[0, :, 8, 8].min() > 0.9 and raw[1, :, 8, 8].max() < -0.9


def test_gradients_are_right() -> None:
    generator, cameras = _generator(), _cameras(2, 0.4)

    def image(ws: Tensor) -> Tensor:
        seen = generator.render(
            generator.synthesize(ws), cameras, outputs=("image", "depth"), resolution=4
        )
        return torch.cat([seen.require("image").flatten()[::50], seen.require("depth").flatten()])

    ws = toy_latents(generator, 1, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(image, ws, eps=1e-7, atol=1e-4)


def test_stochastic_rays_follow_their_source() -> None:
    generator = _generator(sampling="stochastic")
    scene, cameras = _scene(generator), _cameras(2)
    images = []
    for seed in (1, 1, 2):
        generator.rng = torch.Generator().manual_seed(seed)
        images.append(generator.render(scene, cameras).require("image"))
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    assert (images[0] - images[2]).abs().mean() < 0.02


def test_capture_is_a_rendering_of_the_known_latents() -> None:
    generator = ToyGenerator(ToyConfig())
    for motion in (0.0, 0.7):
        capture = toy_capture(generator, 5, seed=3, motion=motion)
        ws = toy_latents(generator, 5, seed=3, motion=motion)
        assert bool((ws[0] == ws[4]).all()) == (motion == 0)
        with torch.no_grad():
            seen = generator.render(generator.synthesize(ws), capture.camera)
        assert torch.equal(seen.require("image"), capture.images)
    assert capture.camera.yaw.rad2deg().tolist() == pytest.approx([60, 30, 0, -30, -60], abs=1e-4)
    assert capture.depths is not None and capture.masks is not None
    inside = capture.depths > 0
    assert 0.1 < inside.float().mean() < 0.9 and capture.depths[inside].min() > 1.7
    assert toy_capture(generator, 1).camera.yaw.item() == 0.0


def test_truncation_moves_towards_one_latent() -> None:
    generator = ToyGenerator(ToyConfig())
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    none, half, whole = (generator.map(z, truncation=t) for t in (0.0, 0.5, 1.0))
    assert torch.allclose(none[0], none[2]) and torch.allclose(half, (none + whole) / 2)
