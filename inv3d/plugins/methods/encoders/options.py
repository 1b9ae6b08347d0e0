"""Options of encoders and their trainings, apart from them: checked before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from inv3d.core.config import PluginConfig, found_again
from inv3d.core.fit.terms import LossTerms
from inv3d.core.training_options import TrainingConfig
from inv3d.nn.encoders.options import BranchOptions, EncoderOptions

_WEIGHTS = (
    "directory or .safetensors file that '3dinv train' wrote, or a published file; where none is "
    "given, the embedded networks for the generator, or those in the folder for weights"
)


class EncodingConfig(PluginConfig):
    """Options of all encoders."""

    of_training = frozenset({"encoder"})
    views: Literal["front", "all"] = Field(
        default="front",
        description="the view nearest to the front, or every view given, each by itself: frames "
        "of a video",
    )
    weights: Path | None = Field(default=None, description=_WEIGHTS)
    average: Path | None = Field(
        default=None,
        description="file with the mean latent (latent_avg) that a published encoder counts from, "
        "where its own has none, such as TriPlaneNet's of its generator; none takes the "
        "generator's own, seen from the front",
    )
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        default="fp32", description="of the encoder's convolutions"
    )

    _found_again = field_validator("weights", "average")(found_again)


class PSPConfig(EncodingConfig):
    """Options of pSp."""

    encoder: EncoderOptions = Field(
        default=EncoderOptions(),
        description="kind and sizes that are trained, and of published files; files of a training "
        "have their own",
    )


class E4EEncoderOptions(EncoderOptions):
    """Sizes of e4e's encoder."""

    kind: Literal["e4e"] = Field(default="e4e", description="the only kind that e4e has")


class E4EConfig(EncodingConfig):
    """Options of e4e."""

    deltas: int | None = Field(
        default=None,
        ge=0,
        description="latents, from the second on, that differ from the first; 0 takes the first "
        "for all layers (Pose-Opt), and then files of encoders of any number of latents will do; "
        "none lets all differ. e4e: all",
    )
    encoder: E4EEncoderOptions = Field(
        default=E4EEncoderOptions(),
        description="sizes that are trained, and of published files; files of a training have "
        "their own",
    )


class TriPlaneNetConfig(PSPConfig):
    """Options of TriPlaneNet."""

    of_training = frozenset({"encoder", "branch"})
    branch: BranchOptions = Field(
        default=BranchOptions(), description="version and sizes of the second branch, likewise"
    )


JudgedBy = Literal["occluded", "planes", "pictures"]


class DualEncoderConfig(TriPlaneNetConfig):
    """Options of the dual encoder, whose two encoders have equal sizes."""

    views: Literal["front"] = Field(default="front", description="it sees one picture")

    discriminator: int = Field(
        default=64,
        ge=8,
        le=512,
        description="channels of the discriminator's first layer, for trainings. paper: 64",
    )
    judged_by: JudgedBy = Field(
        default="occluded",
        description="what the discriminator sees, for trainings: the planes' cells that the "
        "picture's camera doesn't see; whole planes; or pictures from other cameras. paper: "
        "occluded",
    )


class EncoderTraining(TrainingConfig):
    """Options of the training of every encoder."""

    losses: LossTerms = Field(
        default_factory=dict,
        description="loss name -> weight, or {weight, options of the loss}, between pictures and "
        "what is made of their latents; the generator's default losses where none is given. "
        "pSp: mse 1, lpips (alex) 0.8, arcface 0.1",
    )
    latent: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared difference from true latents, of generated pictures. "
        "pSp: 0",
    )
    trunk: Path | None = Field(
        default=None,
        description="model_ir_se50.pth, or its path: the face recognition network that trunks "
        "begin with. pSp: so; e4e and TriPlaneNet too",
    )
    optimizer: Literal["ranger", "adam"] = Field(
        default="ranger", description="of the encoder. pSp, e4e, TriPlaneNet: ranger"
    )

    at_begin = TrainingConfig.at_begin | {"trunk"}
    _found_again = field_validator("trunk")(found_again)


class LatentTraining(EncoderTraining):
    """Options of the training of encoders that make latents alone."""

    render_every: int = Field(
        default=1,
        ge=0,
        description="steps after which pictures are rendered and compared, for other steps "
        "`latent` alone counts; 0 never. With `latent` above 0. pSp: 1",
    )


class PSPTraining(LatentTraining):
    """Options of the training of pSp."""

    steps: int = Field(default=500_000, ge=1, description="training steps. pSp: 500000")


class E4ETraining(LatentTraining):
    """Options of the training of e4e."""

    steps: int = Field(default=200_000, ge=1, description="training steps. e4e: 200000")
    delta: float = Field(
        default=2e-4, ge=0, description="weight of how far latents are from the first. e4e: 2e-4"
    )
    progressive: int = Field(
        default=20_000,
        ge=0,
        description="first step at which a latent may differ from the first; all may from the "
        "beginning with `begin`. e4e: 20000",
    )
    progressive_every: int = Field(
        default=2_000, ge=1, description="steps after which one more may. e4e: 2000"
    )
    critic: float = Field(
        default=0.1, ge=0, description="weight of the discriminator of latents. e4e: 0.1"
    )
    critic_lr: float = Field(default=2e-5, gt=0, description="its learning rate. e4e: 2e-5")
    r1: float = Field(default=10.0, ge=0, description="weight of its gradient penalty. e4e: 10")
    r1_every: int = Field(default=16, ge=1, description="steps between two of these. e4e: 16")


class BranchTraining(EncoderTraining):
    """Options of the training of a second branch."""

    first: Path | None = Field(
        default=None,
        description="training whose encoder the first branch begins with: a directory or file of "
        "e4e or psp, or one of these names for the networks at hand",
    )
    mirrored: float = Field(
        default=0.1,
        ge=0,
        description="weight of the losses against the mirror image, from the mirrored camera "
        "(probably-symmetric prior). TriPlaneNet: 0.1",
    )
    confidence: Path | None = Field(
        default=None,
        description="file of unsup3d, whose confidence network says where heads differ from their "
        "mirror image; without, all places count alike",
    )
    novel: float = Field(
        default=0.0,
        ge=0,
        description="weight of the losses from another camera, of generated pictures. TriPlaneNet: "
        "0",
    )

    at_begin = EncoderTraining.at_begin | {"first"}
    _found_with_others = field_validator("first", "confidence")(found_again)

    @model_validator(mode="after")
    def _confident_of_mirror_images(self) -> Self:
        if self.confidence and not self.mirrored:
            raise ValueError(
                "confidence says how mirror images are compared, but `mirrored` is 0; set it above "
                "0, or leave confidence out"
            )
        return self


class TriPlaneNetTraining(BranchTraining):
    """Options of the training of TriPlaneNet."""

    steps: int = Field(default=1_500_000, ge=1, description="training steps. paper: 1500000")
    batch: int = Field(default=3, ge=1, description="pictures a step. paper: 3")
    second_from: int = Field(
        default=20_000,
        ge=0,
        description="first step at which the second branch is trained. TriPlaneNet: 20000",
    )
    first_until: int = Field(
        default=500_000,
        ge=0,
        description="step from which on the first branch stays as it is. TriPlaneNet: 500000",
    )
    second_losses: LossTerms = Field(
        default_factory=dict,
        description="losses of the second branch, stronger than `losses`. TriPlaneNet: smooth_l1 "
        "1 in place of mse",
    )


class DualEncoderTraining(BranchTraining):
    """Options of the training of the dual encoder."""

    steps: int = Field(default=500_000, ge=1, description="training steps. paper: 500000")
    batch: int = Field(default=3, ge=1, description="pictures a step. paper: 3")
    mirrored: float = Field(
        default=0.0, ge=0, description="weight of the losses against the mirror image. paper: 0"
    )
    adversarial: float = Field(
        default=1e-3,
        ge=0,
        description="weight of the discriminator in the second encoder's loss. paper: 0.001",
    )
    judged: float = Field(
        default=0.5, ge=0, description="weight of the discriminator's own loss. paper: 0.5"
    )
    r1: float = Field(default=10.0, ge=0, description="weight of its gradient penalty. paper: 10")
    r1_every: int = Field(default=16, ge=1, description="steps between two of these. paper: 16")
