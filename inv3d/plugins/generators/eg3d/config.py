"""The options of the generator `eg3d`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from inv3d.nn.eg3d.architecture import Architecture
from inv3d.nn.eg3d.published import PublishedOptions, Variant
from inv3d.plugins.generators.eg3d.variants import VARIANTS, VariantName


class EG3DConfig(Architecture, PublishedOptions):
    """What an EG3D network is, and how it computes.

    Options that aren't given are those of the variant, whose defaults are the published command
    lines. The architecture stored in a weight file stands between the two.
    """

    variants: ClassVar[Mapping[str, Variant]] = VARIANTS

    variant: VariantName = Field(
        default="ffhq", description="published family that gives the defaults"
    )
