"""A generator with known answers: coloured Gaussian blobs, a few thousand parameters, no planes.

For tests of methods, metrics and commands, and for plugin authors. Register it for a process with
INV3D_PLUGINS="generators:toy=inv3d.testing.toy:ToyGenerator".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.core.camera import Camera, CameraPrior
from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.generator import Generator, GeneratorSpec, neutral_condition
from inv3d.core.scene import OutputName, Rendering, Scene
from inv3d.core.weights.tensors import fingerprint

Z_DIM = 8
W_DIM = 8
NUM_WS = 4
BLOBS = 8
RESOLUTION = 32
RAYS = 16
NEAR, FAR = 1.7, 3.7
_LOOK = 5
_SIZE, _OPTICAL_DEPTH = 0.11, 4.0
_PIXEL_JITTER = 0.5


class ToyConfig(PluginConfig):
    """Options of the toy generator."""

    seed: int = Field(default=0, description="seed of its weights")
    sampling: Literal["deterministic", "stochastic"] = Field(
        default="deterministic", description="rays through pixel centres, or anywhere in the pixel"
    )


class ToyGenerator(Generator):
    """Blobs whose centres, sizes, colours and opacities are linear in ws, rendered in closed form.

    A ray meets a blob where it passes nearest to its centre and is dimmed there by the exact
    integral of the blob's density along the ray. Blobs hide one another in that order. What they
    let through comes from a wall at the far end of the depth range.

    Attributes:
        rng: source of the stochastic rays.
    """

    config: ToyConfig
    noise_const: Tensor
    name = "toy"
    summary = "coloured Gaussian blobs with known answers, for tests"
    licence = "Apache-2.0"
    Config = ToyConfig
    replayable = True

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.rng: torch.Generator | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            first, last = nn.Linear(Z_DIM, 32), nn.Linear(32, W_DIM)
            self.mapping = nn.Sequential(first, nn.LeakyReLU(0.2), last)
            self.layout = nn.Linear(NUM_WS * W_DIM, BLOBS * (3 + _LOOK))
            self.tint = nn.Linear(W_DIM, 3)
            self.background = nn.Parameter(torch.full((3,), -0.8))
            self.noise_strength = nn.Parameter(torch.tensor(0.05))
            self.register_buffer("noise_const", torch.randn(BLOBS, 3 + _LOOK))
            for layer, gain in ((first, 1.0), (last, 1.4)):
                nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
                nn.init.normal_(layer.bias, std=0.1)
            self._arrange()
        self.eval()
        self.spec = GeneratorSpec(
            name=self.name,
            z_dim=Z_DIM,
            w_dim=W_DIM,
            num_ws=NUM_WS,
            resolution=RESOLUTION,
            render_resolution=RAYS,
            camera=CameraPrior(radius=2.7, focal=4.2647 / 2, yaw_deg=90.0, pitch_deg=30.0),
            depth_range=(NEAR, FAR),
            box=1.2,
            condition="none",
            domain="coloured blobs",
            fingerprint=fingerprint({"toy": config.model_dump()}, self.state_dict()),
            default_losses={"mse": 1.0, "l1": 0.1},
        )

    @torch.no_grad()
    def _arrange(self) -> None:
        """Spread the blobs over the middle of the picture and scale what the latents do to them."""
        scale = torch.tensor([0.1] * 3 + [0.15] + [0.6] * 3 + [0.15]).repeat(BLOBS)
        nn.init.normal_(self.layout.weight, std=1 / math.sqrt(self.layout.in_features))
        self.layout.weight.mul_(scale[:, None])
        bias = torch.zeros(BLOBS, 3 + _LOOK)
        bias[:, :3] = F.normalize(torch.randn(BLOBS, 3), dim=1) * 0.22
        bias[:, 4:7] = torch.randn(BLOBS, 3) * 0.6
        self.layout.bias.copy_(bias.flatten())
        nn.init.normal_(self.tint.weight, std=0.02)
        nn.init.zeros_(self.tint.bias)

    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> ToyGenerator:
        """Build the generator; its weights follow from the seed."""
        assert isinstance(config, ToyConfig)
        return cls(config)

    def map(
        self, z: Tensor, condition: Camera | Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Map z [B, 8] to ws [B, 4, 8]; there's no condition."""
        centre = self.mapping(torch.zeros_like(z[:1]))
        w = torch.lerp(centre.expand(len(z), -1), self.mapping(z), truncation)
        return w[:, None].expand(-1, NUM_WS, -1)

    def synthesize(self, ws: Tensor) -> Scene:
        """Make blobs: centres [B, 8, 3], world units, and looks [B, 8, 5]."""
        blobs = self.layout(ws.flatten(1)).view(-1, BLOBS, 3 + _LOOK)
        noise = torch.cat([self.noise_const[:, :3] * 0.2, self.noise_const[:, 3:]], dim=1)
        blobs = blobs + self.noise_strength * noise
        return Scene({"centres": blobs[..., :3], "looks": blobs[..., 3:]}, ws)

    def render(
        self,
        scene: Scene,
        camera: Camera,
        *,
        outputs: Sequence[OutputName] = ("image",),
        resolution: int | None = None,
    ) -> Rendering:
        """Render B scenes from N = B * V cameras, V consecutive cameras a scene."""
        size = resolution or RAYS
        views = len(camera) // len(scene)
        if views * len(scene) != len(camera):
            raise ValueError(f"{len(camera)} cameras can't be shared by {len(scene)} scenes")
        seen = scene.apply(lambda part: part.repeat_interleave(views, 0))
        origins, directions = self._rays(camera.to(dtype=scene.ws.dtype), size)
        weight, distance, colour = self._composite(seen, origins, directions)
        opacity = weight.sum(-1, keepdim=True)
        made: dict[str, Tensor] = {}
        if "depth" in outputs:
            depth = (weight * distance).sum(-1, keepdim=True) + (1 - opacity) * FAR
            made["depth"] = _picture(depth, size)
        if "mask" in outputs:
            made["mask"] = _picture(opacity, size)
        if {"image", "raw", "features"} & set(outputs):
            rgb = weight @ colour + (1 - opacity) * self.background.tanh()
            raw = _picture(rgb, size)
            tint = self.tint(seen.ws[:, -1])[..., None, None]
            large = F.interpolate(raw, size=(RESOLUTION,) * 2, mode="bilinear") + tint
            colours = {"features": raw, "raw": raw, "image": large.clamp(-1, 1)}
            made |= {name: colours[name] for name in outputs if name in colours}
        return Rendering(**made, ws=seen.ws)

    def _rays(self, camera: Camera, size: int) -> tuple[Tensor, Tensor]:
        origins, directions = camera.rays(size)
        if self.config.sampling == "stochastic":
            pixel = _PIXEL_JITTER / (size * self.spec.camera.focal)
            shape, device = directions.shape, directions.device
            draw = torch.rand(shape, generator=self.rng, device=device, dtype=directions.dtype)
            directions = F.normalize(directions + (draw - 0.5) * pixel, dim=-1)
        return origins, directions

    @staticmethod
    def _composite(scene: Scene, origins: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
        """Return weight and distance [N, R, K] of every blob on every ray, and colour [N, K, 3]."""
        centres, size, colour, optical = _blobs(scene)
        towards = centres[:, None] - origins[:, :, None]
        distance = (towards * directions[:, :, None]).sum(-1)
        offset = towards.square().sum(-1) - distance.square()
        dimming = optical[:, None] * torch.exp(-offset / (2 * size[:, None].square()))
        order = distance.detach().argsort(-1)
        sorted_dimming = dimming.gather(-1, order)
        before = sorted_dimming.cumsum(-1) - sorted_dimming
        weight = torch.exp(-before) * -torch.expm1(-sorted_dimming)
        return weight.gather(-1, order.argsort(-1)), distance, colour

    def sample(self, scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density [B, P] a world unit and colour [B, P, 3] in [0, 1] at points [B, P, 3]."""
        centres, size, colour, optical = _blobs(scene)
        squared = (points[:, :, None] - centres[:, None]).square().sum(-1)
        peak = optical / (size * math.sqrt(2 * math.pi))
        each = peak[:, None] * torch.exp(-squared / (2 * size[:, None].square()))
        density = each.sum(-1)
        share = each / density[..., None].clamp_min(torch.finfo(each.dtype).tiny)
        return density, (share @ colour + 1) / 2

    def noise_maps(self) -> dict[str, Tensor]:
        """The one noise map [8, 8], live."""
        return {"noise_const": self.noise_const}


def _blobs(scene: Scene) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres [B, K, 3], sizes [B, K], colours [B, K, 3] in [-1, 1], optical depths [B, K]."""
    looks = scene.parts["looks"]
    size = _SIZE * looks[..., 0].exp()
    return (
        scene.parts["centres"],
        size,
        looks[..., 1:4].tanh(),
        _OPTICAL_DEPTH * looks[..., 4].exp(),
    )


def _picture(values: Tensor, size: int) -> Tensor:
    return values.transpose(1, 2).reshape(len(values), -1, size, size)


@torch.no_grad()
def toy_latents(
    generator: Generator, views: int = 9, seed: int = 0, *, motion: float = 0.0
) -> Tensor:
    """Return the true latents of `toy_capture`, [views, num_ws, w_dim].

    Args:
        generator: any generator, not only the toy.
        views: how many.
        seed: of the draw.
        motion: 0 for one latent at all views; else how far, relative to the distance of two
            random heads, it has moved towards a second head from the first view to the last.
    """
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(2, generator.spec.z_dim, generator=rng)
    z = z.to(generator.device, generator.dtype)
    first, second = generator.map(z, neutral_condition(generator, 2))
    fraction = torch.linspace(0, motion, views).to(z)
    return torch.lerp(first[None], second[None], fraction[:, None, None])


@torch.no_grad()
def toy_capture(
    generator: Generator,
    views: int = 9,
    seed: int = 0,
    *,
    motion: float = 0.0,
    yaw_deg: float = 60.0,
) -> Capture:
    """Render a known latent from views on a half orbit, with exact depth and masks.

    Args:
        generator: any generator, not only the toy.
        views: how many, from +yaw_deg to -yaw_deg; a single one is the frontal view.
        seed: of the latent.
        motion: see `toy_latents`.
        yaw_deg: half range of the yaw, degrees.
    """
    limit = math.radians(yaw_deg) if views > 1 else 0.0
    camera = generator.spec.camera.orbit(torch.linspace(limit, -limit, views))
    ws = toy_latents(generator, views, seed, motion=motion)
    scene = generator.synthesize(ws)
    seen = generator.render(scene, camera.to(ws.device), outputs=("image", "depth", "mask"))
    mask = seen.require("mask").float().cpu()
    side = generator.spec.resolution
    return Capture(
        images=seen.require("image").float().cpu(),
        cameras=camera,
        names=tuple(f"view{i:03d}.png" for i in range(views)),
        masks=F.interpolate(mask, size=(side, side), mode="bilinear").clamp(0, 1),
        depths=seen.require("depth").float().cpu() * (mask > 0.5),
        source=f"toy seed {seed}",
    )
