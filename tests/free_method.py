"""A method from the public face alone: it finds cameras, an offset of the scene and a latent."""

from __future__ import annotations

import torch
from pydantic import Field

from inv3d import (
    Capture,
    Context,
    Diagnostic,
    FitConfig,
    Generator,
    Group,
    Inverter,
    Look,
    Metrics,
    Stage,
    Steps,
    constant,
    latent_source,
    latent_statistics,
    loss_terms,
    prepare,
    target_of,
    trainable,
)


class FreeConfig(FitConfig):
    """Options of the method."""

    steps: int = Field(8, ge=0, description="optimisation steps")


class Free(Inverter[FreeConfig]):
    """Latent, yaw of every camera and an offset of the scene, each with a rate of its own."""

    name = "free"
    summary = "latent, cameras and scene offset at once, cameras unknown"
    api = "1.0"
    needs = frozenset()
    Config = FreeConfig

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        views = prepare(generator, capture, context)
        mean = latent_statistics(generator, 500).mean
        ws = mean.expand(1, generator.spec.num_ws, -1).clone()
        yaw = torch.linspace(0.5, -0.5, len(views)).to(ws)
        parts = {n: torch.zeros_like(p) for n, p in generator.synthesize(ws).parts.items()}
        objective = context.objective(
            loss_terms(generator, self.config, {}), target_of(generator, views)
        )

        def update(step: int) -> Metrics:
            source = latent_source(generator, ws, offset=parts)
            return context.backward(generator, source, Look(prior.orbit(yaw), objective))

        prior = generator.spec.camera
        groups = {
            "latent": Group({"ws": ws}, constant(0.05)),
            "pose": Group({"yaw": yaw}, constant(0.01)),
            "offset": Group(parts, constant(1e-3), begin=3),
        }
        with trainable({"ws": ws, "yaw": yaw, **parts}):
            yield from context.run(Stage("fit", self.config.steps, groups, {"fit": update}))
        camera = prior.orbit(yaw).to("cpu")
        with torch.no_grad():
            seen = generator.render(generator.synthesize(ws), prior.orbit(yaw))
        self.seen = seen.require("image")
        return self.inversion(
            generator,
            context,
            ws,
            camera[views.front()],
            offset={name: part.cpu() for name, part in parts.items()},
            poses=dict(zip(views.names, camera.labels(), strict=True)),
        )

    def diagnostics(self) -> list[Diagnostic]:
        labels = [f"view {i}" for i in range(len(self.seen))]
        return [Diagnostic("Without the offset", self.seen, labels)]
