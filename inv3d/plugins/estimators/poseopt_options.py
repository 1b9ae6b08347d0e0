"""Options of Pose-Opt's estimator, apart from it: checked before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from inv3d.core.config import PluginConfig
from inv3d.core.training_options import TrainingConfig
from inv3d.nn.pose_options import PoseNetworkOptions


class PoseEstimatorConfig(PluginConfig):
    """Options of the estimator."""

    weights: Path | None = Field(
        default=None,
        description="directory or .safetensors file that '3dinv train' wrote, or a published file "
        "of Pose-Opt; where none is given, the embedded network for the generator, or that in the "
        "folder for weights",
    )
    of_training = frozenset({"network"})
    network: PoseNetworkOptions = Field(
        default=PoseNetworkOptions(),
        description="sizes that are trained, and of published files; files of a training have "
        "their own",
    )


class PoseTraining(TrainingConfig):
    """Options of its training on generated pictures."""

    batch: int = Field(default=32, ge=1, description="pictures a step. official: 32")
    lr: float = Field(default=1e-4, gt=0, description="learning rate. official: 1e-4")
    roll_deg: float = Field(
        default=0.0,
        ge=0,
        le=90,
        description="half range of the roll of generated pictures, degrees. paper: 18 where wanted",
    )
    both_sides: bool = Field(
        default=False,
        description="show every second picture mirrored, camera included, for a head and its "
        "mirror image are alike. official: false",
    )
    rotation_form: Literal["geodesic", "frobenius"] = Field(
        default="geodesic",
        description="error of the rotations: the angle between them, or the Frobenius norm of "
        "R_true^-1 R - I. paper: frobenius (official: geodesic)",
    )
    position: float = Field(
        default=10.0,
        ge=0,
        description="weight of the error of the cameras' positions, divided by the pictures a "
        "step. paper: not given (official: 10)",
    )
    position_form: Literal["squared", "distance"] = Field(
        default="squared",
        description="error of the positions: the mean square of their coordinates' differences, "
        "or the distance. paper: distance (official: squared)",
    )
    diagonal: float = Field(
        default=1e-10,
        ge=0,
        description="weight of the term that keeps rotations from the diagonal; here it's bounded, "
        "at frontal heads. official: 1e-10, unbounded",
    )
