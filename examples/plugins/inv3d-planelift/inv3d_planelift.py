"""A start in the latent space, then L-BFGS on an offset of the scene."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from inv3d import (
    Capture,
    ConfigError,
    Context,
    FitConfig,
    Generator,
    Group,
    Inverter,
    Look,
    Metrics,
    Progress,
    Scene,
    Snapshot,
    Stage,
    Steps,
    Update,
    constant,
    latent_source,
    latent_statistics,
    lbfgs,
    load_method,
    loss_terms,
    prepare,
    target_of,
    trainable,
)


class PlaneLiftConfig(FitConfig):
    """Options of the method."""

    start: str = Field("mean", description="mean latent of W, or the name of a method, such as an "
                       "encoder's, whose latent is taken")  # fmt: skip
    start_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the method to start with"
    )
    samples: int = Field(1000, ge=2, description="draws for the mean of W")
    latent_steps: int = Field(20, ge=0, description="steps on one latent of all views, after it")
    steps: int = Field(30, ge=0, description="steps on the offset")
    parts: tuple[str, ...] = Field((), description="of the scene that change; all if empty")
    pull: float = Field(
        1e-3, ge=0, description="weight of the mean squared offset, in units of each part's spread"
    )


class PlaneLift(Inverter[PlaneLiftConfig]):
    """Changes the scene where the latents' space ends."""

    name = "planelift"
    summary = "mean or encoder start, then L-BFGS on an offset of the scene"
    api = "1.0"
    licence = "Apache-2.0"
    Config = PlaneLiftConfig

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Start, fit the latent, fit the offset."""
        before = Snapshot(generator)
        ws = yield from self.begin(generator, capture, context)
        views = prepare(generator, capture, context)
        camera = views.camera[views.front()]
        terms = loss_terms(generator, self.config, {})
        look = Look(views.camera, context.objective(terms, target_of(generator, views)))
        yield from self.fit_latent(generator, ws, look, context)
        with torch.no_grad():
            scene = generator.synthesize(ws)
        offset = self.offset_of(scene)
        yield from self.fit_offset(generator, ws, scene, offset, look, context)
        return self.inversion(generator, context, ws, camera, before, offset=offset)

    def begin(self, generator: Generator, capture: Capture, context: Context) -> Iterator[Progress]:
        """Return the latent to start from, [1, num_ws, w_dim]."""
        options = self.config
        if options.start == "mean":
            generator.to(context.device).eval().requires_grad_(False)
            mean = latent_statistics(generator, options.samples).mean
            return mean.repeat(1, generator.spec.num_ws, 1)
        method = load_method(options.start, options.start_options, generator)
        chosen = capture[list(method.fitted(capture.cameras, len(capture)))]
        found = yield from method.steps(generator, chosen, context.within("start"))
        ws = found.ws_for(generator.spec.camera.front())
        return ws.to(generator.device, generator.dtype).clone()

    def fit_latent(
        self, generator: Generator, ws: Tensor, look: Look, context: Context
    ) -> Iterator[Progress]:
        """Fit one latent to all views."""
        fit = Update(lambda step: context.backward(generator, ws, look), still=True)
        groups = {"latent": Group({"ws": ws}, constant(1.0), optimizer=lbfgs())}
        with trainable({"ws": ws}):
            yield from context.run(Stage("latent", self.config.latent_steps, groups, {"fit": fit}))

    def offset_of(self, scene: Scene) -> dict[str, Tensor]:
        """Return an offset of zeros for the parts that change."""
        names = self.config.parts or tuple(scene.parts)
        unknown = sorted(set(names) - set(scene.parts))
        if unknown:
            raise ConfigError(
                f"option 'parts': the scene has no '{unknown[0]}'; its parts are "
                f"{', '.join(scene.parts)}"
            )
        parts = {name: scene.parts[name] for name in names}
        return {n: torch.zeros_like(p) for n, p in parts.items() if p.is_floating_point()}

    def fit_offset(
        self,
        generator: Generator,
        ws: Tensor,
        scene: Scene,
        offset: Mapping[str, Tensor],
        look: Look,
        context: Context,
    ) -> Iterator[Progress]:
        """Fit the offset, held by a pull to zero."""
        spread = {name: scene.parts[name].std().clamp_min(1e-6) for name in offset}

        def update(step: int) -> Metrics:
            source = latent_source(generator, ws, offset=offset)
            sums = context.backward(generator, source, look)
            squares = [(part / spread[name]).square().mean() for name, part in offset.items()]
            pull = self.config.pull * torch.stack(squares).sum()
            pull.backward()
            return sums | {"pull": pull.detach(), "total": sums["total"] + pull.detach()}

        groups = {"offset": Group(offset, constant(1.0), optimizer=lbfgs())}
        updates = {"fit": Update(update, still=True)}
        with trainable(offset):
            yield from context.run(Stage("offset", self.config.steps, groups, updates))
