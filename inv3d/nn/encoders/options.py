"""Sizes of the encoders as options; the defaults are those of the published networks.

Nothing here needs torch, since options are checked before it is imported.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from inv3d.core.config import PluginConfig

EncoderKind = Literal["psp", "e4e", "w", "wplus"]


class TrunkOptions(PluginConfig):
    """The residual network that every encoder begins with (IR-SE50 of ArcFace)."""

    width: int = Field(
        default=64,
        ge=8,
        le=512,
        multiple_of=8,
        description="channels of the first group; twice as many in each of the three others",
    )
    units: tuple[int, int, int, int] = Field(
        default=(3, 4, 14, 3),
        description="residual units of the four groups; 100 layers: 3,13,30,3, 152: 3,8,36,3",
    )
    squeeze_excite: bool = Field(
        default=True, description="scale channels at the end of a unit (mode ir_se; false: ir)"
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if min(self.units) < 1 or max(self.units) > 100:
            raise ValueError("units must be 1 to 100 a group")
        return self


class EncoderOptions(PluginConfig):
    """A picture to latents."""

    kind: EncoderKind = Field(
        default="psp",
        description="psp: every latent on its own; e4e: one latent and what others add to it; w: "
        "one latent from the last layer; wplus: all latents from the last layer",
    )
    trunk: TrunkOptions = TrunkOptions()
    size: int = Field(
        default=256, ge=32, le=1024, description="pixels a side that the encoder sees"
    )
    colours: Literal["symmetric", "imagenet"] = Field(
        default="symmetric",
        description="in [-1, 1], or less ImageNet's mean and in its deviations (e4e of Pose-Opt)",
    )
    style_channels: int | None = Field(
        default=None,
        ge=8,
        le=512,
        description="channels inside the blocks that make a latent; those of the last group",
    )

    @model_validator(mode="after")
    def _halved(self) -> Self:
        if self.size & (self.size - 1):
            raise ValueError("size must be a power of two: every block halves it to one pixel")
        return self


class BranchOptions(PluginConfig):
    """TriPlaneNet's second branch: what is missing in a render to what is missing in the planes."""

    trunk: TrunkOptions = TrunkOptions()
    version: Literal[1, 2] = Field(
        default=2,
        description="2 sees the mirrored picture and the planes too; 1 is the first paper version",
    )
    pixel_shuffle: bool = Field(
        default=False,
        description="enlarge by pixel shuffle instead of nearest neighbours; version 1 always does",
    )

    @property
    def shuffles(self) -> bool:
        """Whether maps are enlarged by pixel shuffle."""
        return self.pixel_shuffle or self.version == 1

    @property
    def inputs(self) -> int:
        """Channels of the input: a render and one or two differences, three each."""
        return 9 if self.version == 2 else 6


class ConfidenceOptions(PluginConfig):
    """The network that says how far a face is from its mirror image (unsup3d's ConfNet)."""

    width: int = Field(default=64, ge=8, le=256, description="channels at half size (nf)")
    code: int = Field(
        default=128, ge=1, le=1024, description="channels of the narrowest map (zdim)"
    )
    inputs: int = Field(default=3, ge=1, le=16, description="channels of the picture (cin)")
    outputs: int = Field(
        default=2,
        ge=2,
        le=16,
        description="scales at each pixel: the straight one, the mirrored one, others (cout)",
    )


class DiscriminatorOptions(PluginConfig):
    """A discriminator of whole maps: planes of a volume, or pictures."""

    width: int = Field(
        default=64,
        ge=8,
        le=512,
        description="channels of the first layer; twice as many in each of the three others",
    )
