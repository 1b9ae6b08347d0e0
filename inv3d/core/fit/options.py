"""Options that the optimisation methods share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from inv3d.core.config import PluginConfig
from inv3d.core.fit.terms import Keep, LossTerms


class FitConfig(PluginConfig):
    """Options of every fit: which losses, and where it starts."""

    losses: LossTerms = Field(
        default_factory=dict,
        description="loss name -> weight, or {weight, options of the loss}; added to the "
        "generator's default losses and stronger than they; 0 leaves a loss out. paper: 0.1 pixel "
        "+ 1 perceptual + 1 identity, summed over the views (official: the same)",
    )
    default_losses: bool = Field(
        default=True,
        description="begin with the generator's default losses; false takes `losses` alone",
    )
    init_tuned: bool = Field(
        default=True,
        description="start from the tuned generator of --init too, not only from its latent",
    )


class LatentOptions(PluginConfig):
    """Options of the latent stage: ws changes, the generator is frozen."""

    steps: int = Field(
        default=500, ge=0, description="optimisation steps. paper: 500 (PTI official: 450)"
    )
    lr: float = Field(
        default=0.1,
        gt=0,
        description="learning rate of the plateau. paper: 0.1 (PTI official: 0.01)",
    )
    rampup: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of the steps with a rising rate. official: 0.05",
    )
    rampdown: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of the steps with a falling rate. official: 0.25",
    )
    keep: Keep = Field(
        default="last",
        description="where the last step led, or from where a step saw the lowest total loss",
    )
    losses: LossTerms = Field(
        default_factory=dict, description="losses of this stage, stronger than the method's"
    )


class SearchMethod(BaseModel):
    """How latents are searched for."""

    optimizer: Literal["adam", "lbfgs"] = Field(
        default="adam",
        description="adam, or lbfgs: a step is an iteration with a line search, mostly one "
        "evaluation of all views; it needs no rate and a function that stands still, so that "
        "`lr`, ramps and noise on the latent are adam's alone. official: adam",
    )


class SomeViews(BaseModel):
    """How many of the fitted views a step takes."""

    views_per_step: int | None = Field(
        default=None,
        ge=1,
        description="views that a step takes of those fitted, in turn and spread over the angles, "
        "in both stages (lbfgs always takes all); none takes all. paper: all",
    )


# The multi-view inversion paper's values, spelt out: a preset named after it must win over what
# suits a generator.
PAPER_SEARCH = {"optimizer": "adam", "steps": 500, "lr": 0.1, "pull": 1.0, "samples": 10_000}
# tuning by Adam at a rate that never changes
PLAIN_ADAM = {"optimizer": "adam", "rampup": 0.0, "rampdown": 0.0}
PAPER_TUNING = {"steps": 500, "lr": 3e-4, **PLAIN_ADAM}
# of the presets called "fast": a line search for the latent, then a few views a step
FAST_SEARCH = {"optimizer": "lbfgs", "steps": 25, "samples": 2000}
FAST_TUNING = {"steps": 50, "rampup": 0.1, "rampdown": 0.3}


class SampledLatentOptions(LatentOptions):
    """Options of the latent stage of latents that begin at the mean of W, and stay near it."""

    noise: float = Field(
        default=0.05,
        ge=0,
        description="noise on the latent at step 0, in units of the spread of W. official: 0.05",
    )
    noise_length: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="share of the steps with noise on the latent. official: 0.75",
    )
    samples: int = Field(
        default=10_000,
        ge=2,
        description="draws for mean and spread of W. official: 10000 (PTI: 600)",
    )
    pull: float = Field(
        default=1.0,
        ge=0,
        description="weight of the pull to the mean latent (loss w_norm), once a view. paper: 1 "
        "(PTI official: 0)",
    )
    noise_maps: float = Field(
        default=0.0,
        ge=0,
        description="weight of the regulariser of the generator's noise maps, which are then "
        "optimised and kept with the result; 0 leaves them alone. paper: 0 (PTI official: 1e5, "
        "where the optimised maps are thrown away)",
    )


class SearchedLatentOptions(SearchMethod, SampledLatentOptions):
    """The same, where latents are searched for by one of several optimisers."""

    @model_validator(mode="after")
    def _line_searches_stand_still(self) -> Self:
        if self.noise_maps and self.optimizer == "lbfgs":
            raise ValueError(
                "noise_maps are put back to mean 0 and variance 1 after every step, which lbfgs "
                "can't follow; set optimizer=adam, or noise_maps=0"
            )
        return self


class SearchOptions(SearchedLatentOptions):
    """Options of the latent stage of one latent that is searched for from the mean of W."""

    space: Literal["w", "w+"] = Field(
        default="w+", description="one latent for all layers (w) or one a layer (w+). paper: w+"
    )
    noise_per_view: bool = Field(
        default=False,
        description="draw the noise anew for every view, which costs a synthesis a view. "
        "official: true; one draw a step is the same for one view",
    )


class CameraOptions(PluginConfig):
    """Options of the stage in which cameras change with the latent, between its own and tuning."""

    steps: int = Field(
        default=0,
        ge=0,
        description="optimisation steps; 0 leaves cameras as they are given. official: 0 (its "
        "optimize_cam: every 5th step of the latent stage)",
    )
    lr: float = Field(
        default=5e-3,
        gt=0,
        description="learning rate of turns, radians, and of shifts, parts of the distance. "
        "official: 1e-4, of the numbers of a label",
    )
    latent_lr: float = Field(
        default=0.02,
        gt=0,
        description="learning rate of the latent meanwhile. official: that of the latent stage",
    )


class TuningOptions(PluginConfig):
    """Options of the tuning stage: the generator changes, ws is frozen."""

    optimizer: Literal["adam", "muon"] = Field(
        default="adam",
        description="adam, or muon, which moves layers of weights in all directions equally far: "
        "fewer steps, each of more arithmetic, at two to three times the rate. paper: adam",
    )
    steps: int = Field(
        default=500,
        ge=0,
        description="optimisation steps. paper: not given (official: 500; PTI: 350)",
    )
    lr: float = Field(
        default=3e-4, gt=0, description="learning rate of the plateau. official: 3e-4"
    )
    rampup: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the steps with a rising rate; at the full rate Adam's first steps "
        "undo a part of the fit. official: 0",
    )
    rampdown: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the steps with a falling rate, which evens out what steps of a few "
        "views differ in. official: 0",
    )
    keep: Keep = Field(
        default="last",
        description="where the last step led, or from where a step saw the lowest total loss",
    )
    losses: LossTerms = Field(
        default_factory=dict, description="losses of this stage, stronger than the method's"
    )


class PivotalOptions(TuningOptions):
    """Options of the tuning stage around one latent, the pivot."""

    threshold: float | None = Field(
        default=None,
        ge=0,
        description="stop, before the update, at this value of `threshold_loss` (mean over the "
        "views); none never stops. official: never (PTI: 0.06)",
    )
    threshold_loss: str = Field(
        default="lpips", description="loss that `threshold` watches. PTI: lpips"
    )
    locality: float = Field(
        default=0.0,
        ge=0,
        description="weight of the locality regulariser: near the pivot, tuned and original "
        "generator make the same picture. PTI paper: on (official: 0; 0.1 in its code)",
    )
    locality_distance: float = Field(
        default=30.0,
        gt=0,
        description="distance of the points near the pivot, norm over all of ws. PTI: 30",
    )
    locality_truncation: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="truncation of the latents that these points lie towards. PTI: 0.5",
    )


class SingleLatentConfig(SomeViews, FitConfig):
    """Options of a fit of one latent."""

    latent: SearchOptions = Field(default=SearchOptions(), description="the latent stage")
