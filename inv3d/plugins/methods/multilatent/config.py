"""Options and presets of multi-latent inversion."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from inv3d.core.fit.options import (
    FAST_SEARCH,
    FAST_TUNING,
    PAPER_SEARCH,
    PAPER_TUNING,
    FitConfig,
    LatentOptions,
    SearchMethod,
    SomeViews,
    TuningOptions,
)
from inv3d.core.plugin import Presets


class ManyLatentsOptions(SearchMethod, LatentOptions):
    """Options of the latent stage; there's no noise on the latents."""

    steps: int = Field(
        default=80,
        ge=0,
        description="iterations; each has up to three optimiser steps: fit, depth, interpolation. "
        "paper: 500",
    )
    lr: float = Field(
        default=0.01,
        gt=0,
        description="learning rate of the plateau. paper: 0.1 (official: 0.01)",
    )


class ManyTuningOptions(TuningOptions):
    """Options of the tuning stage over all latents."""

    steps: int = Field(
        default=80,
        ge=0,
        description="iterations; each has up to three optimiser steps. paper: not given "
        "(official: 500)",
    )


class MultiLatentConfig(SomeViews, FitConfig):
    """Options of multi-latent inversion."""

    views_per_step: int | None = Field(
        default=None,
        ge=1,
        description="latents, and views between them, that each update takes in turn, spread over "
        "the angles, in both stages (lbfgs always takes all); none takes all. The start method "
        "has an option of its own. paper: all",
    )
    init_tuned: bool = Field(
        default=False,
        description="start from the tuned generator of --init too, not only from its latent. "
        "official: false",
    )
    latents: int | None = Field(
        default=None,
        ge=2,
        description="number of latents, M, evenly by angle; with interpolation 2M - 1 views are "
        "used (2M where they go all around), else M; none uses every view given. paper: 9 without, "
        "5 with interpolation",
    )
    start_from: str = Field(
        default="multiview",
        description="method that makes the start latent, or 'mean' for the mean latent; --init "
        "comes before it. paper: multiview",
    )
    start: dict[str, Any] = Field(
        default_factory=dict,
        description="options of the start method; for multiview over {views: 7, latent.steps: 120 "
        "of adam, tuning.steps: 0} and this run's losses. paper: 7 views, 500 steps",
    )
    distance: float = Field(
        default=1.0,
        ge=0,
        description="weight of the pull of every latent to the start latent, in the latent stage "
        "only; 0 switches it off. paper: 1, eq. 5",
    )
    distance_form: Literal["mean", "sum"] = Field(
        default="mean",
        description="mean or sum over the num_ws * w_dim squared differences. paper: sum, eq. 5 "
        "(official: mean)",
    )
    interpolation: float = Field(
        default=1.0,
        ge=0,
        description="weight of the fit of interpolated latents to the frames in between; 0 "
        "switches it off and every view gets a latent. paper: not given (official: 1)",
    )
    interpolation_at: Literal["angle", "middle"] = Field(
        default="angle",
        description="interpolate at the true angle of the frame, or in the middle between its "
        "neighbours. paper: middle (official: angle)",
    )
    depth: float = Field(
        default=1.0,
        ge=0,
        description="weight of the depth consistency between the latents; 0 switches it off. "
        "paper: not given (official: 1)",
    )
    depth_every: int = Field(
        default=1,
        ge=1,
        description="steps from one look at the depths to the next (lbfgs looks at them every "
        "time). paper: not given (official: 1)",
    )
    depth_form: Literal["running", "exact"] = Field(
        default="running",
        description="every step all latents from one random camera against the stored mean, or "
        "all M x M depth maps. paper: exact, eq. 6 (official: running)",
    )
    blend: Literal["auto", "yaw", "turn"] = Field(
        default="auto",
        description="how the result interpolates its latents: yaw ends at the outermost cameras, "
        "turn goes on around the back; auto is turn for generators that know heads from all "
        "sides, and for captures that go all around. paper: yaw",
    )
    latent: ManyLatentsOptions = Field(
        default=ManyLatentsOptions(), description="the latent stage, generator frozen"
    )
    tuning: ManyTuningOptions = Field(
        default=ManyTuningOptions(), description="the tuning stage, latents frozen"
    )

    @model_validator(mode="after")
    def _line_searches_stand_still(self) -> Self:
        if self.latent.optimizer == "lbfgs" and self.depth and self.depth_form == "running":
            raise ValueError(
                "depth_form=running changes what it compares with at every step, which "
                "latent.optimizer=lbfgs can't follow; set depth_form=exact, depth=0, or "
                "latent.optimizer=adam"
            )
        return self


START: Presets = {
    "multiview": {
        "views": 7,
        "views_per_step": None,
        "latent": {"optimizer": "adam", "steps": 120, "samples": 4000},
        "tuning": {"steps": 0},
    }
}

_WEIGHTS = {"distance": 1.0, "interpolation": 1.0, "depth": 1.0, "depth_every": 1}
_ALL_VIEWS = {"views_per_step": None}
_NO_DEPTH = {"depth": 0.0}
_NO_INTERPOLATION = {**_NO_DEPTH, "interpolation": 0.0}

PRESETS: Presets = {
    "paper": {
        **_WEIGHTS,
        **_ALL_VIEWS,
        "start": {**_ALL_VIEWS, "latent": PAPER_SEARCH},
        "latent": {"optimizer": "adam", "steps": 500, "lr": 0.1},
        "tuning": PAPER_TUNING,
        "distance_form": "sum",
        "interpolation_at": "middle",
        "depth_form": "exact",
    },
    "official": {
        **_WEIGHTS,
        **_ALL_VIEWS,
        "start": {**_ALL_VIEWS, "latent": {**PAPER_SEARCH, "noise_per_view": True}},
        "latent": {"optimizer": "adam", "steps": 500, "lr": 0.01},
        "tuning": PAPER_TUNING,
    },
    "fast": {
        "views_per_step": 3,
        "start": {"latent": FAST_SEARCH},
        "latent": {"optimizer": "adam", "steps": 16},
        "tuning": FAST_TUNING,
    },
    "no-regularisers": {**_NO_INTERPOLATION, "distance": 0.0},
    "distance": _NO_INTERPOLATION,
    "interpolation": _NO_DEPTH,
    "depth": {"depth_every": 1},
}
