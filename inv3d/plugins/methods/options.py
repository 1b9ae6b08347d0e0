"""Options of the methods with one latent, apart from them: checked before torch is imported."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from inv3d.core.fit.options import PivotalOptions, SearchOptions, SingleLatentConfig

# of latent and tuning together, where an encoder has begun
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
    tuning: PivotalOptions = Field(default=PivotalOptions(), description="the tuning stage")


class HybridConfig(WPlusConfig):
    """Options of an encoder's latent, refined and tuned."""

    encoder: str = Field(
        default="e4e", description="method that makes the latent; --init takes its place"
    )
    encoder_options: dict[str, Any] = Field(
        default_factory=dict, description="its options, such as encoder_options.weights=PATH"
    )
    latent: SearchOptions = Field(
        default=SearchOptions(steps=30, lr=0.02, rampup=0.1, noise=0.0, pull=0.0),
        description="the latent stage, from where the encoder's latent lies",
    )
    tuning: PivotalOptions = Field(
        default=PivotalOptions(steps=60, rampup=0.1, rampdown=0.3), description="the tuning stage"
    )

    @model_validator(mode="after")
    def _few_steps(self) -> Self:
        steps = self.latent.steps + self.tuning.steps
        if steps > MOST_STEPS:
            raise ValueError(
                f"latent.steps and tuning.steps are {steps} together, expected at most "
                f"{MOST_STEPS}; method pti takes more, from --init {self.encoder} too"
            )
        return self
