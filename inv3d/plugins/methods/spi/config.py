"""Options and presets of SPI."""

from __future__ import annotations

from pydantic import Field

from inv3d.core.config import PluginConfig
from inv3d.core.fit.options import PLAIN_ADAM, FitConfig, SearchedLatentOptions, TuningOptions
from inv3d.core.fit.terms import LossTerms
from inv3d.core.plugin import Presets

WHO = "method spi"


class MirrorLatentOptions(SearchedLatentOptions):
    """Options of the latent stage: the picture, and its mirror image from the mirrored camera."""

    mirror: float = Field(
        default=1.0,
        ge=0,
        description="weight of the mirrored view, on top of `prior`; 0 leaves it out. official: 1",
    )
    samples: int = Field(
        default=10_000,
        ge=2,
        description="draws for mean and spread of W, conditioned on the picture's camera. "
        "official: 600",
    )
    pull: float = Field(
        default=1.0,
        ge=0,
        description="weight of the pull to the mean latent (loss w_norm). official: 0",
    )


class PriorOptions(PluginConfig):
    """Options of the symmetry prior: how much a mirrored view tells, by the camera's angle."""

    deviation: float = Field(
        default=0.29,
        gt=0,
        description="standard deviation of the yaw of faces, radians; a view as common as the "
        "frontal one tells little, one from the side more. official: 0.29",
    )
    front: float = Field(
        default=0.2,
        ge=0,
        description="yaw below which the mirrored view is left out, radians. official: 0.2",
    )


class MirroredOptions(PluginConfig):
    """Options of the views around the mirror image, where they're compared otherwise."""

    losses: LossTerms = Field(
        default_factory=dict,
        description="losses of these views; those of the views around the picture if none is "
        "named. official: 0.1 of contextual (vgg)",
    )
    parts: bool = Field(
        default=False,
        description="compare eyes and mouth alone, where the generator says where faces have them. "
        "official: true",
    )


class AroundOptions(PluginConfig):
    """Options of the views around the picture and around its mirror image."""

    yaw: float = Field(default=0.2, ge=0, description="reach to each side, radians. official: 0.2")
    pitch: float = Field(default=0.1, ge=0, description="reach up and down, radians. official: 0.1")
    tolerance: float = Field(
        default=0.05,
        gt=0,
        description="difference of depth up to which a point counts as seen, world units. "
        "official: 0.05",
    )
    mask: bool = Field(
        default=True,
        description="compare only where the picture's mask is, if it has one. official: the parts "
        "of the face",
    )
    losses: LossTerms = Field(
        default_factory=dict,
        description="losses of these views; the picture losses of the stage if none is named. "
        "official: lpips (vgg)",
    )
    mirrored: MirroredOptions = Field(
        default=MirroredOptions(), description="how those around the mirrored camera are compared"
    )


class SymmetricTuningOptions(TuningOptions):
    """Options of the tuning stage with views around the picture and its mirror image."""

    threshold: float | None = Field(
        default=None,
        ge=0,
        description="stop, before the update, at this value of `threshold_loss`; none never stops. "
        "official: 0.05",
    )
    threshold_loss: str = Field(
        default="lpips", description="loss that `threshold` watches. official: lpips (vgg)"
    )
    every: int = Field(
        default=4,
        ge=1,
        description="the three terms below are taken every so many steps. official: 4",
    )
    batch: int = Field(default=4, ge=1, description="random cameras of each term. official: 4")
    rotation: float = Field(
        default=0.1,
        ge=0,
        description="weight of the views around the picture, which must show the warped picture "
        "where it's seen; summed over the cameras. official: 0.1",
    )
    mirror: float = Field(
        default=0.05,
        ge=0,
        description="weight of the views around the mirrored camera, which must show the warped "
        "mirror image; summed over the cameras. official: 0.05",
    )
    depth: float = Field(
        default=1.0,
        ge=0,
        description="weight of the squared change of depth from the untuned generator. official: 1",
    )
    depth_yaw: float = Field(
        default=0.7, ge=0, description="reach of the cameras of `depth`, radians. official: 0.7"
    )
    depth_pitch: float = Field(
        default=0.4,
        ge=0,
        description="reach of the cameras of `depth` above and below `depth_rise`, in EG3D's "
        "vertical number. official: 0.4",
    )
    depth_rise: float = Field(
        default=0.2,
        description="height of the middle of these cameras, in EG3D's vertical number. official: "
        "0.2",
    )
    around: AroundOptions = Field(
        default=AroundOptions(), description="the views of `rotation` and `mirror`"
    )


class SPIConfig(FitConfig):
    """Options of SPI."""

    latent: MirrorLatentOptions = Field(
        default=MirrorLatentOptions(), description="the latent stage, generator frozen"
    )
    prior: PriorOptions = Field(default=PriorOptions(), description="the symmetry prior")
    tuning: SymmetricTuningOptions = Field(
        default=SymmetricTuningOptions(), description="the tuning stage, latent frozen"
    )


_LPIPS = {"lpips": {"weight": 1.0, "net": "vgg", "resize_by": "bilinear"}}
_CONTEXTUAL = {
    "contextual": {
        "weight": 0.1,
        "features": "lpips",
        "options": {"net": "vgg", "resize": 0},
        "layer": "1",
        "unit": False,
    }
}
_OFFICIAL = {
    "default_losses": False,
    "prior": {"deviation": 0.29, "front": 0.2},
    "latent": {
        "optimizer": "adam",
        "steps": 500,
        "lr": 0.01,
        "pull": 0.0,
        "noise_maps": 1e5,
        "samples": 600,
        "losses": _LPIPS,
    },
    "tuning": {
        "steps": 1000,
        "lr": 3e-4,
        **PLAIN_ADAM,
        "threshold": 0.05,
        "losses": {"mse": 1.0, **_LPIPS},
        "around": {
            "losses": _LPIPS,
            "mirrored": {"losses": _CONTEXTUAL, "parts": True},
        },
    },
}

PRESETS: Presets = {
    "official": _OFFICIAL,
    # the paper's own numbers are those of its code, as far as other papers tell
    "paper": _OFFICIAL,
    "fast": {"latent": {"steps": 100, "samples": 2000}, "tuning": {"steps": 60}},
}
