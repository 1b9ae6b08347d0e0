"""A relative of PanoHead that replaces `field` alone: a shell with planes in polar coordinates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.config import PluginConfig
from inv3d.core.scene import Rendering, Scene
from inv3d.io.mesh import extract_mesh
from inv3d.nn.eg3d.architecture import TrigridArchitecture
from inv3d.nn.eg3d.spec import spec_of
from inv3d.nn.eg3d.trigrid import EMPTY, TrigridGenerator
from inv3d.nn.planes.triplane import sample_planes
from inv3d.nn.volume import Field
from inv3d.plugins.generators.panohead.variants import CAMERA
from tests.golden_images import ALL_OUTPUTS
from tests.tiny_generators import OWN, TINY, close, one_by_one

INNER, OUTER = 0.2, 0.4
ARCHITECTURE = TrigridArchitecture(**TINY | OWN["panohead"], plane_depth=2)


class ShellHead(TrigridGenerator):
    """A head that is a thick shell: its planes span longitude, latitude and height."""

    name = "panohead"  # whose tests' cameras it shares

    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> ShellHead:
        generator = cls(ARCHITECTURE)
        generator.spec = spec_of(
            generator, name=cls.name, camera=CAMERA, domain="shells", fingerprint="0" * 16,
            losses={}, metrics={},
        )  # fmt: skip
        return generator.eval().requires_grad_(False)

    def field(self, scene: Scene) -> Field:
        planes, axes = scene.parts["planes"], self.architecture.plane_axes

        def evaluate(points: Tensor, colour: bool) -> tuple[Tensor, Tensor | None]:
            x, y, z = points.unbind(-1)
            radius = points.square().sum(-1).clamp_min(1e-12).sqrt()
            height = (radius - INNER) / (OUTER - INNER) * 2 - 1
            polar = [torch.atan2(x, z) / math.pi, torch.asin(y / radius) * 2 / math.pi, height]
            sampled = sample_planes(planes, torch.stack(polar, -1), axes, 2.0)
            raw, features = self.decoder(sampled, colour)
            return raw.masked_fill(height.abs() > 1, EMPTY), features

        return evaluate


@pytest.fixture
def generator() -> ShellHead:
    made = ShellHead.create(PluginConfig())
    with torch.no_grad():
        made.decoder.net[2].bias[0] = 60.0  # random decoders make fog
    return made


def scenes(generator: ShellHead, count: int = 2) -> Scene:
    rng = torch.Generator().manual_seed(1)
    return generator.synthesize(generator.map(torch.randn(count, 6, generator=rng)))


def seen(generator: ShellHead, scene: Scene, views: int = 2, **how: Any) -> Rendering:
    camera = generator.spec.camera.orbit(torch.linspace(-2.5, 2.5, views * len(scene)))
    return generator.render(scene, camera, outputs=ALL_OUTPUTS, **how)


def test_pictures_depths_and_masks_show_the_shell(generator: ShellHead) -> None:
    made = seen(generator, scenes(generator), resolution=32)
    depth, mask = made.require("depth")[:, 0], made.require("mask")[:, 0]
    assert made.require("image").shape == (4, 3, 16, 16)
    assert (mask[:, 16, 16] > 0.99).all() and (mask[:, 0, 0] == 0).all()
    near = generator.spec.camera.radius - OUTER
    assert (depth[:, 16, 16] > near - 0.02).all() and (depth[:, 16, 16] < near + 0.1).all()


def test_sampled_points_are_those_of_the_field(generator: ShellHead) -> None:
    scene = scenes(generator)
    points = torch.rand(2, 40, 3, generator=torch.Generator().manual_seed(2)) - 0.5
    radius = points.norm(dim=-1)
    generator.memory_budget = 1
    density, colour = generator.sample(scene, points)
    raw, _ = generator.field(scene)(points, True)
    torch.testing.assert_close(density, F.softplus(raw - 1))
    torch.testing.assert_close(generator.sample_density(scene, points), density)
    inside = (radius > INNER) & (radius < OUTER)
    assert inside.any() and torch.equal(density > 0, inside)
    assert colour.shape == (2, 40, 3) and colour.min() >= 0 and colour.max() <= 1


@pytest.mark.parametrize("checkpoint", [False, True])
def test_chunks_change_nothing(generator: ShellHead, checkpoint: bool) -> None:
    scene = scenes(generator)
    whole = seen(generator, scene)
    generator.ray_chunk, generator.view_chunk, generator.checkpoint = 7, 1, checkpoint
    close(seen(generator, scene), whole)
    camera = generator.spec.camera.orbit(torch.linspace(-2.5, 2.5, 4))
    close(one_by_one(generator, scene.ws, camera), whole)


def test_gradients_pass_through_the_shell_to_the_latents(generator: ShellHead) -> None:
    ws = scenes(generator, 1).ws.requires_grad_()
    made = seen(generator, generator.synthesize(ws))
    (made.require("image").square().mean() + made.require("depth").mean()).backward()
    assert ws.grad is not None and (ws.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_a_mesh_is_the_shells_surface(generator: ShellHead) -> None:
    mesh = extract_mesh(generator, scenes(generator, 1), resolution=32)
    radius = (mesh.vertices**2).sum(1) ** 0.5
    assert len(mesh.faces) > 100 and abs(radius.max() - OUTER) < 0.03
