"""The options of the generator `panohead`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from inv3d.nn.eg3d.architecture import TrigridArchitecture
from inv3d.nn.eg3d.published import PublishedOptions, Variant
from inv3d.plugins.generators.panohead.variants import VARIANTS, VariantName


class PanoHeadConfig(TrigridArchitecture, PublishedOptions):
    """What a PanoHead network is, and how it computes.

    The defaults are those of the published command line. The architecture stored in a weight file
    stands between them and the options that are given.
    """

    variants: ClassVar[Mapping[str, Variant]] = VARIANTS

    variant: VariantName = Field(
        default="head", description="kind of network that gives the defaults"
    )
    neural_rendering_resolution: int = Field(
        default=64, ge=1, description="rays a side (published command line: 64)"
    )
