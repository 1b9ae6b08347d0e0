"""One latent for all views, from the mean of W, by L-BFGS."""

from __future__ import annotations

from pydantic import Field

from inv3d import (
    Capture,
    Context,
    FitConfig,
    Generator,
    Group,
    Inverter,
    Look,
    Stage,
    Steps,
    Update,
    constant,
    latent_statistics,
    lbfgs,
    loss_terms,
    prepare,
    target_of,
    trainable,
)


class ZebraConfig(FitConfig):
    """Options of the method."""

    steps: int = Field(40, ge=0, description="optimisation steps")
    samples: int = Field(1000, ge=2, description="draws for the mean of W")


class Zebra(Inverter[ZebraConfig]):
    """L-BFGS on one latent that all views share; the generator stays as it is."""

    name = "zebra"
    summary = "one latent for all views, by L-BFGS from the mean"
    api = "1.0"
    licence = "Apache-2.0"
    Config = ZebraConfig

    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Optimise the latent, one item a step."""
        views = prepare(generator, capture, context)
        mean = latent_statistics(generator, self.config.samples).mean
        ws = mean.repeat(1, generator.spec.num_ws, 1)
        terms = loss_terms(generator, self.config, {})
        look = Look(views.camera, context.objective(terms, target_of(generator, views)))
        groups = {"latent": Group({"ws": ws}, constant(1.0), optimizer=lbfgs())}
        fit = Update(lambda step: context.backward(generator, ws, look), still=True)
        with trainable({"ws": ws}):
            yield from context.run(Stage("latent", self.config.steps, groups, {"fit": fit}))
        return self.inversion(generator, context, ws, views.camera[views.front()])
