"""Options of the methods with one latent, apart from them: checked before torch is imported."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from inv3d.core.fit.options import PivotalOptions, SingleLatentConfig


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
