"""Options of the fit and of an edit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from inv3d.core.config import PluginConfig
from inv3d.core.moves import LayerRange


class InterFaceGANConfig(PluginConfig):
    """How directions are found."""

    samples: int = Field(
        100_000, ge=20, description="draws of w (official example: 10 000; HFGI3D paper: 500 000)"
    )
    chosen: float = Field(
        0.02,
        gt=0,
        description="of the samples, the share (up to 1) or number (above 1) that is taken from "
        "each end of the scores, half of the samples at most (HFGI3D paper: 10 000)",
    )
    split: float = Field(
        0.7, gt=0, lt=1, description="share of the chosen that trains; the others are the check"
    )
    invalid: float | None = Field(
        None, description="score of samples that are left out, where a classifier has such"
    )
    solver: Literal["libsvm", "liblinear"] = Field(
        "libsvm",
        description="of the linear SVM: scikit-learn's SVC as in the official code, or LinearSVC, "
        "which is faster with many samples",
    )
    penalty: float = Field(1.0, gt=0, description="C of the SVM")
    attributes: tuple[str, ...] = Field((), description="that are looked for; all if none is named")
    classifier: str | None = Field(
        None,
        description="that scores frontal pictures of the samples, offered by a plugin's hook "
        "inv3d_classifiers; none takes what the generator knows of its latents",
    )
    keep_from: float = Field(
        0.2,
        ge=0,
        le=1,
        description="cosine between directions from which the named edit of one keeps the other",
    )


class InterFaceGANEdit(LayerRange):
    """One edit."""

    attribute: str = Field("smile", description="which changes")
    strength: float = Field(1.0, description="how far; see unit")
    unit: Literal["scores", "deviations", "raw"] = Field(
        "scores",
        description="of the strength: standard deviations of the attribute's scores, as a linear "
        "reading of W tells them; standard deviations of W along the direction; or lengths in W "
        "(official code, PTI)",
    )
    mode: Literal["by", "to"] = Field(
        "by",
        description="move by the strength, or until the distance of the first layer to the "
        "boundary is the strength; several latents go the same way, that of their mean distance",
    )
    keep: tuple[str, ...] = Field((), description="attributes that stay (conditional projection)")
