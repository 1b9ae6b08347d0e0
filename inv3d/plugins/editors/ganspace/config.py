"""Options of the fit and of an edit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from inv3d.core.config import PluginConfig
from inv3d.core.moves import LayerRange


class GANSpaceConfig(PluginConfig):
    """How directions are found."""

    samples: int = Field(
        1_000_000, ge=2, description="draws of w (paper: 10^6; official default: 300 000)"
    )
    components: int | None = Field(
        None, ge=1, description="how many are kept (official: 80); none is 100, or all that W has"
    )
    estimator: Literal["ipca", "pca", "fbpca", "ica", "spca"] = Field(
        "ipca",
        description="incremental PCA of scikit-learn; the eigenvectors of the exact covariance, "
        "whose deviations divide by the number of samples as the official code's do; or, with all "
        "samples in memory, a randomised decomposition (fbpca), independent components (ica) or "
        "sparse ones (spca)",
    )
    chunk: int | None = Field(
        None,
        ge=2,
        description="samples at a time; none is the larger of 2000 and three times the components",
    )
    fresh: int = Field(
        0,
        ge=0,
        description="new samples that the deviations are measured on (official code in W: 5000); 0 "
        "takes those of the fit",
    )
    yaw_deg: float = Field(
        0.0,
        description="of the one camera that conditions all samples, where the generator has such",
    )
    pitch_deg: float = Field(0.0, description="likewise, degrees")
    truncation: float = Field(1.0, gt=0, description="of the samples; 1 is none")
    named_from: float = Field(
        0.4,
        ge=0,
        le=1,
        description="correlation with a known attribute of the generator from which a component "
        "bears its name",
    )

    @field_validator("fresh")
    @classmethod
    def _measurable(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one sample has no deviation; give 0, or 2 or more")
        return value


class GANSpaceEdit(LayerRange):
    """One edit."""

    component: int = Field(0, ge=0, description="which, in the order of variance")
    strength: float = Field(1.0, description="how far; see unit")
    unit: Literal["deviations", "raw"] = Field(
        "deviations",
        description="of the strength: standard deviations along the component, or lengths in W",
    )
    mode: Literal["by", "to"] = Field(
        "by",
        description="move by the strength, or until the coordinate of the first layer is the "
        "strength (PTI); several latents go the same way, that of their mean coordinate",
    )
