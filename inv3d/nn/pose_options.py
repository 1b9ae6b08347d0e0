"""Sizes of the pose network, apart from it: checked before torch is imported."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PoseNetworkOptions(BaseModel):
    """The size of the network; the default is the published one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    form: Literal["angles", "quaternion", "sixd"] = Field(
        default="quaternion",
        description="what it tells: yaw and pitch, a quaternion, or two columns of the rotation. "
        "official: quaternion (paper: angles for faces, sixd for cats)",
    )
    size: int = Field(
        default=256,
        ge=16,
        description="pixels a side that pictures are resized to. official: 256",
    )
    blocks: tuple[int, int, int, int] = Field(
        default=(3, 4, 6, 3),
        description="residual blocks of the four stages. official: 3, 4, 6, 3 (ResNet-34)",
    )
    widths: tuple[int, int, int, int] = Field(
        default=(64, 128, 256, 512),
        description="channels of the four stages. official: 64, 128, 256, 512",
    )
    hidden: tuple[int, int] = Field(
        default=(1000, 128),
        description="widths of the two hidden layers of the head. official: 1000, 128",
    )
