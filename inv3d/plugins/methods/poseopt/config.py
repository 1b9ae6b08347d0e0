"""Options and presets of Pose-Opt."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from inv3d.core.config import PluginConfig
from inv3d.core.fit.options import PLAIN_ADAM, FitConfig, SampledLatentOptions, TuningOptions
from inv3d.core.fit.terms import LossTerms
from inv3d.core.plugin import Presets

# of the numbers themselves, and of the weights of a network that tells them
RATES = {
    "numbers": {"angles": 0.01, "quaternion": 0.01, "sixd": 0.01},
    "network": {"angles": 6e-6, "quaternion": 6e-7, "sixd": 6e-6},
}


class PoseOptions(PluginConfig):
    """Options of the camera."""

    estimator: str = Field(
        default="auto",
        description="name of the estimator that tells where the camera is to begin with; auto "
        "takes one that serves the generator, if there's one, and none looks for the pose among a "
        "grid of them. official: its own, trained for the generator",
    )
    estimator_options: dict[str, Any] = Field(
        default_factory=dict,
        description="options of that estimator, such as weights. official: its own",
    )
    form: Literal["angles", "quaternion", "sixd"] = Field(
        default="quaternion",
        description="the numbers that turn the camera: yaw and pitch, a quaternion, or two columns "
        "of its rotation; through=network takes those that the estimator tells. paper: angles for "
        "faces, sixd for cats (official: quaternion)",
    )
    through: Literal["numbers", "network"] = Field(
        default="numbers",
        description="what changes: these numbers, or the weights of the estimator that tells them. "
        "official: network",
    )
    lr: float | None = Field(
        default=None,
        gt=0,
        description="learning rate, constant; if none is given 0.01 for numbers, and for a network "
        "6e-6 (angles, sixd) or 6e-7 (quaternion). official: these of the network",
    )
    shift: bool = Field(
        default=True,
        description="also move the camera sideways on its sphere, so that the head needn't be in "
        "the middle. official: true",
    )
    shift_lr: float = Field(
        default=1e-3, gt=0, description="learning rate of the shift, constant. official: 2e-4"
    )
    warmup: int = Field(
        default=20,
        ge=0,
        description="first steps, in which the camera changes alone. official: 50",
    )


class StartOptions(PluginConfig):
    """Options of the poses that are tried."""

    steps: int = Field(
        default=60,
        ge=0,
        description="steps in which all starts are fitted side by side before the best goes on; 0 "
        "tries one. official: 0",
    )
    count: int = Field(
        default=3,
        ge=1,
        description="most starts that are kept, besides the mirror image of the first. official: 1",
    )
    mirror: bool = Field(
        default=True,
        description="also try the mirrored pose of the first start, for heads are nearly "
        "symmetric. official: false",
    )
    given: bool = Field(
        default=True,
        description="also try the capture's own camera, where it has one, such as `3dinv prepare` "
        "finds. official: false",
    )
    yaws: int = Field(
        default=24,
        ge=1,
        description="yaws of the grid without an estimator, over the prior. official: no grid",
    )
    pitches: int = Field(
        default=3, ge=1, description="pitches of the grid, over the prior. official: no grid"
    )
    apart_deg: float = Field(
        default=20.0,
        ge=0,
        description="angle that starts are apart from one another at least. official: one start",
    )


class PosedLatentOptions(SampledLatentOptions):
    """Options of the latent stage, in which camera and latent change."""

    space: Literal["w", "w+"] = Field(
        default="w", description="one latent for all layers (w) or one a layer (w+). paper: w"
    )
    noise: float = Field(
        default=0.05,
        ge=0,
        description="noise on the latent after the warm-up, in units of the spread of W. official: "
        "0.05 of samples truncated by 0.7, which is 0.035",
    )
    noise_length: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="share of the steps after the warm-up with noise on the latent. official: 0.75",
    )
    samples: int = Field(
        default=5000, ge=2, description="draws for mean and spread of W. official: 5000"
    )
    pull: float = Field(
        default=0.0,
        ge=0,
        description="weight of the pull to the mean latent (loss w_norm). official: 0",
    )
    update: Literal["joint", "alternate"] = Field(
        default="joint",
        description="one step of everything by the sum of all losses, or in turn the latent by the "
        "losses and the camera by the warp. paper: alternate, algorithm 1 (official: joint)",
    )


class WarpOptions(PluginConfig):
    """Options of the warp: the head from the front, carried to the camera through its depth."""

    losses: LossTerms = Field(
        default_factory=lambda: {"warping": 1.0},
        validate_default=True,
        description="losses that compare the picture with it, of the sort of `warping`; 0 leaves "
        "one out. official: warping on relu3_3 of VGG16, 1",
    )

    @property
    def weighted(self) -> LossTerms:
        """The losses that aren't left out."""
        return {name: term for name, term in self.losses.items() if term.over(None).weight}


class SmoothTuningOptions(TuningOptions):
    """Options of the tuning stage: the generator changes, latent and camera are frozen."""

    smoothness: float = Field(
        default=1.0,
        ge=0,
        description="weight of the smoothness of the depth (loss depth_smoothness). official: 1",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        description="stop, before the update, at this sum of `threshold_losses`; none never stops. "
        "official: 0.06",
    )
    threshold_losses: tuple[str, ...] = Field(
        default=("lpips",),
        min_length=1,
        description="losses whose sum `threshold` watches. official: lpips of the picture and of "
        "the raw one",
    )


class PoseOptConfig(FitConfig):
    """Options of Pose-Opt."""

    pose: PoseOptions = Field(default=PoseOptions(), description="the camera")
    starts: StartOptions = Field(default=StartOptions(), description="the poses that are tried")
    encoder: str | None = Field(
        default=None,
        description="name of another method whose latent is the start, given the picture with the "
        "first camera; --init takes its place, and none starts from the mean of W. official: e4e",
    )
    encoder_options: dict[str, Any] = Field(
        default_factory=dict, description="options of that method. official: its own"
    )
    latent: PosedLatentOptions = Field(
        default=PosedLatentOptions(), description="the stage of latent and camera"
    )
    warp: WarpOptions = Field(default=WarpOptions(), description="the warp")
    tuning: SmoothTuningOptions = Field(
        default=SmoothTuningOptions(), description="the tuning stage"
    )

    @model_validator(mode="after")
    def _a_network_is_an_estimators(self) -> Self:
        if self.pose.through == "network" and self.pose.estimator == "none":
            raise ValueError(
                "pose.through is network and pose.estimator is none, so that there's no network; "
                "name an estimator, or set pose.through=numbers"
            )
        if self.pose.through == "network" and self.starts.steps:
            raise ValueError(
                "starts.steps tries several poses and pose.through=network changes the one network "
                "that tells one; set starts.steps=0, or pose.through=numbers"
            )
        return self

    @model_validator(mode="after")
    def _the_camera_follows_something(self) -> Self:
        if self.latent.update == "alternate" and not self.warp.weighted:
            raise ValueError(
                "latent.update is alternate, in which the camera follows the warp, and warp.losses "
                "has no weight; give one, or set latent.update=joint"
            )
        return self


_RAW_LPIPS = {"weight": 1.0, "net": "alex", "resize": 0}
_OFFICIAL: dict[str, Any] = {
    "default_losses": False,
    "encoder": "e4e",
    # of a published file; one that was trained here has its own
    "encoder_options": {"deltas": 0, "encoder": {"colours": "imagenet"}},
    "pose": {
        "estimator": "poseopt-estimator",
        "form": "quaternion",
        "through": "network",
        "lr": None,
        "shift": True,
        "shift_lr": 2e-4,
        "warmup": 50,
    },
    "starts": {"steps": 0, "count": 1, "mirror": False},
    "latent": {
        "space": "w",
        "steps": 400,
        "lr": 0.01,
        "rampup": 0.05,
        "rampdown": 0.25,
        # 0.05 times the spread of samples that are truncated by 0.7
        "noise": 0.035,
        "noise_length": 0.75,
        "samples": 5000,
        "pull": 0.0,
        "noise_maps": 1e5,
        "update": "joint",
        "losses": {"stylegan_vgg": 1.0},
    },
    "warp": {
        "losses": {
            "warping": {
                "weight": 1.0,
                "features": "lpips",
                "options": {"net": "vgg", "resize": 0},
                "layer": "2",
                "unit": False,
                "near": True,
            }
        }
    },
    "tuning": {
        "steps": 400,
        "lr": 3e-4,
        **PLAIN_ADAM,
        "smoothness": 1.0,
        "threshold": 0.06,
        "threshold_losses": ["lpips", "raw_lpips"],
        "losses": {
            "mse": 1.0,
            "raw_mse": {"loss": "mse", "of": "raw", "weight": 1.0},
            "lpips": _RAW_LPIPS,
            "raw_lpips": {"loss": "lpips", "of": "raw", **_RAW_LPIPS},
        },
    },
}

PRESETS: Presets = {
    "official": _OFFICIAL,
    "paper": {
        **_OFFICIAL,
        "pose": {**_OFFICIAL["pose"], "form": "angles"},
        "latent": {**_OFFICIAL["latent"], "update": "alternate"},
    },
    "fast": {
        "starts": {"steps": 30, "yaws": 16, "count": 2},
        "latent": {"steps": 80, "samples": 2000},
        "tuning": {"steps": 50},
    },
}
