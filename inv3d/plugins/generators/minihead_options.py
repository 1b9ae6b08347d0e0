"""Options of the embedded generator, apart from it: checked before torch is imported."""

from __future__ import annotations

from pydantic import Field

from inv3d.nn.eg3d.options import ComputeOptions


class MiniHeadConfig(ComputeOptions):
    """How the embedded network is rendered."""

    render_resolution: int = Field(
        default=64, ge=16, le=64, description="rays a side before super-resolution, pixels"
    )
    samples: int = Field(
        default=16, ge=8, le=96, description="coarse, and again fine, samples along a ray"
    )
