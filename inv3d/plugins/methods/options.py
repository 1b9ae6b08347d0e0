"""Options of the methods with one latent, apart from them: checked before torch is imported."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from inv3d.core.config import PluginConfig
from inv3d.core.fit.options import (
    CameraOptions,
    PivotalOptions,
    SearchOptions,
    SingleLatentConfig,
)
from inv3d.core.fit.terms import LossTerms

# of all stages together, where an encoder has begun
MOST_STEPS = 100


class WPlusConfig(SingleLatentConfig):
    """Options of W and W+ optimisation."""

    views: Literal["front", "all"] = Field(
        default="front",
        description="the view nearest to the front, or every view given, with summed losses. "
        "paper: one view",
    )

    @model_validator(mode="after")
    def _front_has_one_view(self) -> Self:
        if self.views == "front" and self.views_per_step is not None:
            raise ValueError(
                f"views_per_step={self.views_per_step} chooses among several views, and "
                "views=front fits one; leave it out, or set views=all"
            )
        return self


class PTIConfig(WPlusConfig):
    """Options of pivotal tuning."""

    tuning: PivotalOptions = Field(default=PivotalOptions(), description="the tuning stage")


class MultiViewConfig(SingleLatentConfig):
    """Options of multi-view inversion."""

    views: int | None = Field(
        default=None,
        ge=1,
        description="how many of the given views, evenly by angle; none takes all. paper: 3, 5, 7 "
        "and 9 (official: 10, 7 in its README)",
    )
    cameras: CameraOptions = Field(
        default=CameraOptions(), description="the stage that corrects the cameras"
    )
    tuning: PivotalOptions = Field(default=PivotalOptions(), description="the tuning stage")


class OffsetOptions(PluginConfig):
    """Options of the stage that optimises an offset of the planes."""

    steps: int = Field(
        default=0,
        ge=0,
        description="iterations of L-BFGS; 0 leaves the offset as the encoder makes it, or none. "
        "TriPlaneNet, section 4.3: so for a single picture",
    )
    history: int = Field(default=10, ge=1, description="iterations that L-BFGS remembers")
    losses: LossTerms = Field(
        default_factory=dict, description="losses of this stage, stronger than the method's"
    )


class ShortSearchOptions(SearchOptions):
    """Options of a latent stage that begins near its end."""

    steps: int = Field(default=30, ge=0, description="optimisation steps")
    lr: float = Field(default=0.02, gt=0, description="learning rate of the plateau")
    rampup: float = Field(
        default=0.1, ge=0, le=1, description="share of the steps with a rising rate"
    )
    noise: float = Field(
        default=0.0, ge=0, description="noise on the latent at step 0, in units of the spread of W"
    )
    pull: float = Field(default=0.0, ge=0, description="weight of the pull to the mean latent")


class ShortTuningOptions(PivotalOptions):
    """Options of a short tuning stage."""

    steps: int = Field(default=60, ge=0, description="optimisation steps")
    rampup: float = Field(
        default=0.1, ge=0, le=1, description="share of the steps with a rising rate"
    )
    rampdown: float = Field(
        default=0.3, ge=0, le=1, description="share of the steps with a falling rate"
    )


class HybridConfig(WPlusConfig):
    """Options of an encoder's latent, refined and tuned."""

    encoder: str = Field(
        default="e4e", description="method that makes the latent; --init takes its place"
    )
    encoder_options: dict[str, Any] = Field(
        default_factory=dict, description="its options, such as encoder_options.weights=PATH"
    )
    latent: ShortSearchOptions = Field(
        default=ShortSearchOptions(),
        description="the latent stage, from where the encoder's latent lies",
    )
    offset: OffsetOptions = Field(
        default=OffsetOptions(), description="the stage of the planes' offset, after the latent's"
    )
    tuning: ShortTuningOptions = Field(default=ShortTuningOptions(), description="the tuning stage")

    @model_validator(mode="after")
    def _few_steps(self) -> Self:
        steps = self.latent.steps + self.offset.steps + self.tuning.steps
        if steps > MOST_STEPS:
            raise ValueError(
                f"the steps of latent, offset and tuning are {steps} together, expected at most "
                f"{MOST_STEPS}; method pti takes more, from --init {self.encoder} too"
            )
        return self
