"""A generator of 3D Gaussians, rendered in plain PyTorch: no planes, no rays through a volume.

Gaussians are projected to the picture (EWA splatting), sorted by distance and composited there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d import (
    Camera,
    CameraPrior,
    Generator,
    GeneratorSpec,
    OutputName,
    PluginConfig,
    Rendering,
    Scene,
    fingerprint,
)

Z_DIM, W_DIM, NUM_WS = 12, 20, 3
NEAR, FAR, BOX = 1.9, 3.5, 1.4
BACKGROUND = 1.0
# the least extent of a Gaussian in the picture, pixels, so that none falls between them
BLUR = 0.4


class GaussiansConfig(PluginConfig):
    """Options of the generator."""

    count: int = Field(160, ge=8, description="Gaussians of a head")
    size: int = Field(64, ge=8, description="pixels a side")
    seed: int = Field(0, description="of the random weights")


class Gaussians(Generator):
    """Three latents a head: where Gaussians are, how they extend, how they look."""

    config: GaussiansConfig
    base: Tensor
    name = "gaussians"
    summary = "3D Gaussians on a head-like ellipsoid, random weights, no planes"
    api = "1.0"
    licence = "Apache-2.0"
    reference = "Kerbl et al., 3D Gaussian Splatting for Real-Time Radiance Field Rendering, 2023"
    Config = GaussiansConfig
    rays_option = "size"

    @classmethod
    def create(cls, config: Any, weights: Path | None = None) -> Gaussians:
        """Build it with its random weights."""
        return cls(config).eval().requires_grad_(False)

    def __init__(self, config: GaussiansConfig) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.mapping = nn.Sequential(
                nn.Linear(Z_DIM, 32), nn.LeakyReLU(0.2), nn.Linear(32, W_DIM)
            )
            self.places = nn.Linear(W_DIM, config.count * 3)
            self.extents = nn.Linear(W_DIM, config.count * 7)
            self.looks = nn.Linear(W_DIM, config.count * 4)
            for layer, scale in ((self.places, 0.02), (self.extents, 0.2), (self.looks, 0.7)):
                nn.init.normal_(layer.weight, std=scale / math.sqrt(W_DIM) * 2)
                nn.init.normal_(layer.bias, std=scale)
        self.register_buffer("base", ellipsoid(config.count))
        self.spec = GeneratorSpec(
            name=self.name,
            z_dim=Z_DIM,
            w_dim=W_DIM,
            num_ws=NUM_WS,
            resolution=config.size,
            render_resolution=config.size,
            camera=CameraPrior(radius=2.7, focal=3.2, yaw_deg=180.0, pitch_deg=30.0),
            depth_range=(NEAR, FAR),
            box=BOX,
            domain="heads of Gaussians",
            fingerprint=fingerprint({"gaussians": config.count}, self.state_dict()),
            default_losses={"mse": 1.0, "l1": 0.2},
            condition="none",
            outputs=("image", "raw", "depth", "mask"),
        )

    def map(
        self, z: Tensor, condition: Camera | Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Map z [B, 12] to ws [B, 3, 20]; there's no condition."""
        centre = self.mapping(torch.zeros_like(z[:1]))
        w = torch.lerp(centre.expand(len(z), -1), self.mapping(z), truncation)
        return w[:, None].repeat(1, NUM_WS, 1)

    def synthesize(self, ws: Tensor) -> Scene:
        """Make K Gaussians: means [B, K, 3], log scales [B, K, 3], quaternions, looks [B, K, 4]."""
        count = self.config.count
        extents = self.extents(ws[:, 1]).view(-1, count, 7)
        neutral = extents.new_tensor([1.0, 0, 0, 0])
        parts = {
            "means": self.base + self.places(ws[:, 0]).view(-1, count, 3),
            "scales": math.log(0.07) + extents[..., :3],
            "rotations": neutral + extents[..., 3:],
            "looks": self.looks(ws[:, 2]).view(-1, count, 4),
        }
        return Scene(parts, ws)

    def render(
        self,
        scene: Scene,
        camera: Camera,
        *,
        outputs: Sequence[OutputName] = ("image",),
        resolution: int | None = None,
    ) -> Rendering:
        """Project, sort and composite the Gaussians of B scenes for N = B * V cameras."""
        views = len(camera) // len(scene)
        if views * len(scene) != len(camera):
            raise ValueError(f"{len(camera)} cameras can't be shared by {len(scene)} scenes")
        seen = scene.apply(lambda part: part.repeat_interleave(views, 0))
        side = resolution or self.config.size
        camera = camera.to(dtype=scene.ws.dtype)
        weight, left = composite(*self.splat(seen, camera, side))
        made: dict[str, Tensor] = {}
        if {"image", "raw"} & set(outputs):
            colours = seen.parts["looks"][..., 1:].tanh()
            picture = weight @ colours + left * BACKGROUND
            made |= dict.fromkeys(("image", "raw"), picture)
        distance = (seen.parts["means"] - camera.position[:, None]).norm(dim=-1, keepdim=True)
        made |= {"depth": weight @ distance.clamp(NEAR, FAR) + left * FAR, "mask": 1 - left}
        maps = {
            name: values.transpose(1, 2).unflatten(2, (side, side))
            for name, values in made.items()
            if name in outputs
        }
        return Rendering(**maps, ws=seen.ws)

    def splat(self, scene: Scene, camera: Camera, side: int) -> tuple[Tensor, Tensor]:
        """Return what each Gaussian hides of each pixel [N, P, K], and its z in the camera [N, K].

        Args:
            scene: N scenes.
            camera: N cameras.
            side: pixels.
        """
        means = scene.parts["means"]
        local = (means - camera.position[:, None]) @ camera.rotation
        z = local[..., 2].clamp_min(0.1)
        focal = torch.stack([camera.intrinsics[:, 0, 0], camera.intrinsics[:, 1, 1]], -1)
        uv = local[..., :2] / z[..., None] * focal[:, None] + camera.intrinsics[:, None, :2, 2]
        zero = torch.zeros_like(z)
        fx, fy = focal[:, :1] / z, focal[:, 1:] / z
        jacobian = torch.stack(
            [
                torch.stack([fx, zero, -fx * local[..., 0] / z], -1),
                torch.stack([zero, fy, -fy * local[..., 1] / z], -1),
            ],
            -2,
        )
        turned = camera.rotation.transpose(1, 2)[:, None] @ frames(scene)
        spread = jacobian @ turned
        blur = torch.eye(2).to(spread) * (BLUR / side) ** 2
        covariance = spread @ spread.transpose(-1, -2) + blur
        a, b, d = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
        determinant = a * d - b * b
        offset = pixels(side).to(uv)[None, :, None] - uv[:, None]
        dx, dy = offset[..., 0], offset[..., 1]
        power = (d[:, None] * dx**2 - 2 * b[:, None] * dx * dy + a[:, None] * dy**2) / (
            determinant[:, None]
        )
        opacity = (scene.parts["looks"][..., 0] + 2).sigmoid() * (local[..., 2] > 0.1)
        return opacity[:, None] * torch.exp(-0.5 * power) * 0.99, z

    def sample(self, scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density [B, P] and colour [B, P, 3] in [0, 1] at points [B, P, 3].

        A ray through the middle of a Gaussian is dimmed by its opacity, as in the picture.
        """
        each = self.densities(scene, points)
        density = each.sum(-1)
        share = each / density[..., None].clamp_min(1e-12)
        return density, (share @ scene.parts["looks"][..., 1:].tanh() + 1) / 2

    def sample_density(self, scene: Scene, points: Tensor) -> Tensor:
        """Return the density [B, P] alone; meshes ask for it at millions of points."""
        return self.densities(scene, points).sum(-1)

    def densities(self, scene: Scene, points: Tensor) -> Tensor:
        """Return the density [B, P, K] of each Gaussian at points [B, P, 3]."""
        means = scene.parts["means"]
        inverse = torch.linalg.inv(frames(scene))
        form = inverse.transpose(-1, -2) @ inverse
        # the squared distances are quadratic in the points, and so one product of matrices
        towards = (form @ means[..., None])[..., 0]
        constant = (means * towards).sum(-1, keepdim=True)
        factors = torch.cat([form.flatten(-2), -2 * towards, constant], -1)
        squares = (points[..., :, None] * points[..., None, :]).flatten(-2)
        terms = torch.cat([squares, points, torch.ones_like(points[..., :1])], -1)
        squared = terms @ factors.transpose(1, 2)
        opacity = (scene.parts["looks"][..., 0] + 2).sigmoid() * 0.99
        size = scene.parts["scales"].exp().mean(-1)
        peak = -torch.log1p(-opacity) / (size * math.sqrt(2 * math.pi))
        return peak[:, None] * torch.exp(-0.5 * squared)


def composite(hidden: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return each Gaussian's weight in each pixel [N, P, K], and what is left behind [N, P, 1]."""
    order = z.detach().argsort(-1)[:, None].expand_as(hidden)
    near_to_far = hidden.gather(-1, order)
    through = (1 - near_to_far).cumprod(-1)
    before = torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], -1)
    weight = torch.zeros_like(hidden).scatter(-1, order, near_to_far * before)
    return weight, through[..., -1:]


def frames(scene: Scene) -> Tensor:
    """Return matrices [B, K, 3, 3] that make each Gaussian of a round one: turn times scale."""
    w, x, y, z = F.normalize(scene.parts["rotations"], dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    turn = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return turn * scene.parts["scales"].exp()[..., None, :]


def ellipsoid(count: int) -> Tensor:
    """Return points [count, 3] spread evenly over an ellipsoid, world units."""
    index = torch.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = (1 - height.square()).sqrt()
    points = torch.stack([radius * angle.cos(), height, radius * angle.sin()], -1)
    return points * torch.tensor([0.32, 0.42, 0.36])


def pixels(side: int) -> Tensor:
    """Return the pixels' centres [side * side, 2], 0 to 1 from the upper left corner."""
    centres = (torch.arange(side) + 0.5) / side
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([u, v], -1).reshape(-1, 2)
