"""Options of an edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from inv3d.core.config import PluginConfig


class TransferEdit(PluginConfig):
    """One edit: the region is a box or what a mask shows."""

    box: tuple[float, float, float, float, float, float] | None = Field(
        None,
        description="region: lowest x, y, z and highest x, y, z, world units (x to the picture's "
        "right, y up, z towards the frontal camera)",
    )
    mask: Path | None = Field(
        None, description="region: a picture, white where a camera sees what is transferred"
    )
    yaw_deg: float = Field(0.0, description="of the mask's camera, on the generator's orbit")
    pitch_deg: float = Field(0.0, description="likewise, degrees")
    of: Literal["both", "this", "other"] = Field(
        "both", description="whose scene the region is found in; both is where either has it"
    )
    strength: float = Field(1.0, ge=0, le=1, description="share of the other scene in the region")
    threshold: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the region's typical influence from which a place of the scene "
        "belongs to it wholly; less is rougher",
    )
    feather: int = Field(
        5, ge=1, description="width of the soft edge, places of the planes; 1 is a hard edge"
    )
    probes: int = Field(4, ge=1, description="random signs under which the influence is summed")
    grid: int = Field(32, ge=2, description="points a side that are looked at in a box")
    seed: int = Field(303, description="of the random signs")
    reencode: str | None = Field(
        None,
        description="method that inverts pictures of the result once more, such as wplus, which "
        "hides seams and leaves the plane offset",
    )
    reencode_views: int = Field(5, ge=1, description="pictures of that inversion")
    reencode_options: dict[str, Any] = Field({}, description="options of that method")

    @model_validator(mode="after")
    def _one_region(self) -> TransferEdit:
        if (self.box is None) == (self.mask is None):
            raise ValueError("give the region as box or as mask, one of the two")
        if self.box is not None and any(
            low >= high for low, high in zip(self.box[:3], self.box[3:], strict=True)
        ):
            raise ValueError(f"box {self.box}: a lowest number isn't below its highest")
        if self.feather % 2 == 0:
            raise ValueError(f"feather {self.feather}: expected an odd number")
        return self
