"""Options of the methods with one latent, apart from them: checked before torch is imported."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from inv3d.core.fit.options import PivotalOptions, SingleLatentConfig


class WPlusConfig(SingleLatentConfig):
    """Options of W and W+ optimisation."""

    views: Literal["front", "all"] = Field(
        default="front",
        description="the view nearest to the front, or every view given, with summed losses. "
        "paper: one view",
    )


class PTIConfig(SingleLatentConfig):
    """Options of pivotal tuning."""

    views: Literal["front", "all"] = Field(
        default="front",
        description="the view nearest to the front, or every view given, with summed losses. "
        "paper: one view",
    )
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
