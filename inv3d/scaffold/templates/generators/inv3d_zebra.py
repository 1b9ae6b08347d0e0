"""A generator of balloons: one soft ball whose size, place and colour are the latent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

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

Z_DIM, NUM_WS, FACTS = 8, 2, 7
OPTICAL_DEPTH = 12.0


class ZebraConfig(PluginConfig):
    """Options of the generator."""

    size: int = Field(64, ge=8, description="pixels and rays a side")
    seed: int = Field(0, description="of the weights")


class Zebra(Generator):
    """One soft ball: the first latent says where it is and how large, the second its colour."""

    config: ZebraConfig
    name = "zebra"
    summary = "one soft ball of any colour"
    api = "1.0"
    licence = "Apache-2.0"
    Config = ZebraConfig
    rays_option = "size"
    # pictures depend on arguments and weights alone, so that a GPU may record them
    replayable = True

    @classmethod
    def create(cls, config: Any, weights: Path | None = None) -> Zebra:
        """Build it in eval mode, frozen, on the CPU; networks would read `weights` here."""
        return cls(config).eval().requires_grad_(False)

    def __init__(self, config: ZebraConfig) -> None:
        super().__init__()
        self.config = config
        rng = torch.Generator().manual_seed(config.seed)
        self.mapping = nn.Linear(Z_DIM, Z_DIM)
        self.layout = nn.Linear(NUM_WS * Z_DIM, FACTS)
        with torch.no_grad():
            for layer in (self.mapping, self.layout):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=rng) / 3)
                layer.bias.zero_()
        self.spec = GeneratorSpec(
            name=self.name,
            z_dim=Z_DIM,
            w_dim=Z_DIM,
            num_ws=NUM_WS,
            resolution=config.size,
            render_resolution=config.size,
            camera=CameraPrior(radius=2.7, focal=4.26),
            depth_range=(2.2, 3.2),
            box=1.0,
            domain="balloons",
            fingerprint=fingerprint({"zebra": 1}, self.state_dict()),
            default_losses={"mse": 1.0},
            condition="none",
            outputs=("image", "raw", "depth", "mask"),
        )

    def map(
        self, z: Tensor, condition: Camera | Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Map z [B, 8] to ws [B, 2, 8]; the mean is that of z = 0."""
        mean = self.mapping(torch.zeros_like(z))
        return torch.lerp(mean, self.mapping(z), truncation)[:, None].repeat(1, NUM_WS, 1)

    def synthesize(self, ws: Tensor) -> Scene:
        """Make all that doesn't depend on the camera: seven numbers a ball."""
        return Scene({"ball": self.layout(ws.flatten(1))}, ws)

    def render(
        self,
        scene: Scene,
        camera: Camera,
        *,
        outputs: Sequence[OutputName] = ("image",),
        resolution: int | None = None,
    ) -> Rendering:
        """Render B balls from N = B * V cameras, V consecutive ones a ball."""
        views = len(camera) // len(scene)
        if views * len(scene) != len(camera):
            raise ValueError(f"{len(camera)} cameras can't be shared by {len(scene)} scenes")
        seen = scene.apply(lambda part: part.repeat_interleave(views, 0))
        centre, size, colour = ball(seen)
        side = resolution or self.config.size
        origins, directions = camera.to(dtype=scene.ws.dtype).rays(side)
        towards = centre[:, None] - origins
        depth = (towards * directions).sum(-1, keepdim=True)
        miss = towards.square().sum(-1, keepdim=True) - depth.square()
        optical = OPTICAL_DEPTH * torch.exp(-miss / (2 * size[:, None, None] ** 2))
        opacity = -torch.expm1(-optical)
        picture = opacity * colour[:, None] + (1 - opacity)
        made = {"image": picture, "raw": picture, "depth": depth, "mask": opacity}
        maps = {
            name: values.transpose(1, 2).unflatten(2, (side, side))
            for name, values in made.items()
            if name in outputs
        }
        return Rendering(**maps, ws=seen.ws)

    def sample(self, scene: Scene, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density [B, P] and colour [B, P, 3] in [0, 1] at points [B, P, 3]."""
        centre, size, colour = ball(scene)
        squared = (points - centre[:, None]).square().sum(-1)
        peak = OPTICAL_DEPTH / (size * math.sqrt(2 * math.pi))
        density = peak[:, None] * torch.exp(-squared / (2 * size[:, None] ** 2))
        return density, ((colour + 1) / 2)[:, None].expand(-1, points.shape[1], -1)


def ball(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres [B, 3], sizes [B], both in world units, and colours [B, 3] in [-1, 1]."""
    facts = scene.parts["ball"]
    return facts[:, :3].tanh() * 0.15, 0.1 * (facts[:, 3].tanh() / 2).exp(), facts[:, 4:].tanh()
