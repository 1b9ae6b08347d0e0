"""Write a loss, register it for this process, and use it by name.

A plugin is a class with a name, a summary and options. In a package an entry point names it:

    [project.entry-points."inv3d.losses"]
    edges = "my_package:Edges"

While it's being written, the variable INV3D_PLUGINS does the same without installing; here it
points at this very file. From then on the loss is known everywhere: to `context.objective`, to
`--set losses.edges=1`, to `list-plugins` and `info`.

    python examples/02_own_loss_plugin.py
"""

from __future__ import annotations

import os

import torch
from pydantic import Field
from torch import Tensor

from inv3d import (
    Context,
    Loss,
    PluginConfig,
    Rendering,
    Target,
    ToyConfig,
    ToyGenerator,
    load_method,
    registry,
    toy_capture,
)


class EdgesConfig(PluginConfig):
    """Options of the loss."""

    step: int = Field(1, ge=1, description="distance of the pixels that are compared")


class Edges(Loss[EdgesConfig, Tensor]):
    """Mean squared difference of horizontal and vertical gradients."""

    name = "edges"
    summary = "mean squared difference of picture gradients"
    api = "1.0"
    Config = EdgesConfig
    replayable = True

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' gradients; called once, N views."""
        return self.gradients(target.images)

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return one number a view."""
        assert isinstance(cache, Tensor)
        difference = self.gradients(rendering.require("image")) - cache
        return difference.square().mean((1, 2, 3))

    def gradients(self, images: Tensor) -> Tensor:
        """Return [N, 6, h, w] of images [N, 3, H, W]."""
        step = self.config.step
        corner = images[..., :-step, :-step]
        across, down = images[..., :-step, step:], images[..., step:, :-step]
        return torch.cat([across - corner, down - corner], dim=1)


def main() -> None:
    os.environ["INV3D_PLUGINS"] = f"losses:edges={__name__}:Edges"
    record = registry().record("losses", "edges")
    print(f"{record.name}: {record.status}, from {record.distribution} ({record.target})")

    generator = ToyGenerator(ToyConfig())
    capture = toy_capture(generator, views=3)
    context = Context.create("cpu", seed=303)
    # beside the generator's own losses; "weight" and the loss's options stand together
    options = {
        "losses": {"edges": {"weight": 2.0, "step": 2}},
        "latent": {"steps": 60, "samples": 500, "pull": 0.0},
        "tuning": {"steps": 0},
    }
    method = load_method("multiview", options, generator)
    values = [step.losses["edges"] for step in method.steps(generator, capture, context)]
    print(f"edges, summed over 3 views: {values[0]:.4f} at first, {values[-1]:.4f} at last")
    if values[-1] >= values[0]:
        raise SystemExit("the loss didn't fall")


if __name__ == "__main__":
    main()
