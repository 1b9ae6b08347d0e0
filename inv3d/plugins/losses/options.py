"""Options of the built-in losses, apart from them: they are checked before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from inv3d.core.config import PluginConfig

NetName = Literal["alex", "vgg", "squeeze"]
NetworkName = Literal["a", "b"]
# sides in pixels below which a backbone's poolings leave nothing
LEAST_SIDES: dict[NetName, int] = {"vgg": 16, "alex": 31, "squeeze": 17}


class PixelConfig(PluginConfig):
    """Options that all pixel losses share."""

    resolution: int | None = Field(
        None,
        ge=1,
        description="side in pixels that larger images are area-resized to before they are "
        "compared; full size if not given (paper: full size)",
    )
    mask: bool | str = Field(
        False,
        description="weigh every pixel with the target's mask, or with a map that the method "
        "makes, by its name; the mean is then over it (paper: off)",
    )


class SmoothL1Config(PixelConfig):
    """Options of the smooth L1 loss."""

    beta: float = Field(
        1.0, gt=0, description="difference in colour units below which the loss is quadratic"
    )


class SymmetryConfig(PluginConfig):
    """Options of the symmetry loss."""

    form: Literal["squared", "smooth_l1"] = Field(
        "squared",
        description="difference of the pixels: squared, or smooth L1 (TriPlaneNet: squared in its "
        "first branch, smooth L1 in its second)",
    )
    beta: float = Field(
        1.0,
        gt=0,
        description="of smooth L1: difference in colour units below which it is quadratic",
    )
    uncertainty: str = Field(
        "uncertainty", description="name of the method's map that says how uncertain a pixel is"
    )
    offset: float = Field(
        1.0,
        ge=0,
        description="added to the uncertainty before it divides (TriPlaneNet's paper: 0, which "
        "needs a map above 0; its code: 1)",
    )
    normalise: bool = Field(
        False,
        description="divide by the mean weight of the picture, so that uncertain pictures count "
        "as much as others (TriPlaneNet: off)",
    )
    resolution: int | None = Field(
        None,
        ge=1,
        description="side in pixels that larger images are area-resized to before they are "
        "compared; full size if not given (TriPlaneNet: 256)",
    )


class FeatureConfig(PluginConfig):
    """Options of losses that compare the features of another one."""

    features: str = Field(
        "headfeat",
        description="loss whose features are compared, one that tells them by layer, such as "
        "headfeat or lpips (Pose-Opt: VGG16; SPI: VGG19)",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of that loss, such as net or weights"
    )
    layer: str = Field(
        "1",
        description="name of the layer, counted from 0 and from fine to coarse (Pose-Opt: relu3_3 "
        "of VGG16, which is layer 2 of lpips; relu2_2, layer 1, and relu4_3, layer 3, are its "
        "alternatives)",
    )
    unit: bool = Field(
        True,
        description="of unit length over channels, as that loss compares them, or as its network "
        "makes them, which lpips and headfeat can tell, too (Pose-Opt: false)",
    )


class WarpingConfig(FeatureConfig):
    """Options of the warping loss."""

    near: bool = Field(
        True,
        description="compare only what is nearer than the mean depth, which is the head and not "
        "what is behind it (Pose-Opt: true)",
    )


class ContextualConfig(FeatureConfig):
    """Options of the contextual loss."""

    band: float = Field(
        0.5, gt=0, description="width of the softmax over places (paper: 0.5; SPI: 0.5)"
    )
    most: float = Field(
        10.0,
        gt=1,
        description="bound of the relative distance of places, which is 1 for the nearest "
        "(paper: none; SPI: 10)",
    )
    places: int = Field(
        40,
        ge=2,
        description="side that larger maps of features are averaged down to; the cost grows with "
        "its fourth power (SPI: 40, of pictures of 80 pixels)",
    )


class HeadIDConfig(PluginConfig):
    """Options of the losses that use an embedded identity network."""

    network: NetworkName = Field(
        "a", description="embedded network: a for losses, b (another architecture) for metrics"
    )
    weights: Path | None = Field(
        None,
        description="path of a .safetensors or .pth file to use instead of the embedded weights",
    )


class LookalikesConfig(PluginConfig):
    """Options of the share of lookalikes that are nearer."""

    network: NetworkName = Field(
        "b", description="embedded network: a as losses use it, b (another one) for metrics"
    )


class FaceIDConfig(PluginConfig):
    """Options of the identity of faces in photographs."""

    weights: Path | None = Field(
        None, description="path of a file as tools.face.identity writes it, instead of the embedded"
    )


class LPIPSConfig(PluginConfig):
    """Options of the LPIPS loss."""

    net: NetName = Field(
        "vgg", description="backbone: vgg (multi-view paper), alex (PTI), squeeze (smallest file)"
    )
    weights: Path | None = Field(
        None,
        description="path of the backbone's torchvision state dict (.pth or .safetensors); if "
        "not given it's taken from the folder for weights or torch's cache, or downloaded",
    )
    resize: int = Field(
        256,
        ge=0,
        description="side in pixels that larger images are resized to; 0 keeps full size "
        "(multi-view paper: 256; PTI: full size)",
    )
    resize_by: Literal["area", "bilinear"] = Field(
        "area", description="how, by their areas or bilinear without a filter (SPI: bilinear)"
    )

    @model_validator(mode="after")
    def _wide_enough(self) -> LPIPSConfig:
        least = LEAST_SIDES[self.net]
        if 0 < self.resize < least:
            raise ValueError(
                f"resize {self.resize}: net={self.net} takes {least} pixels and more; give {least} "
                "or more, or 0 for full size"
            )
        return self


class ArcFaceConfig(PluginConfig):
    """Options of the ArcFace identity loss."""

    weights: Path | None = Field(
        None,
        description="path of model_ir_se50.pth (or the same tensors as .safetensors), or of "
        "another network of its kind (50, 100 or 152 layers, mode ir or ir_se), such as "
        "CurricularFace's; if not given model_ir_se50.pth is looked for in the folder for weights",
    )
    crop: tuple[float, float, float, float] = Field(
        (35 / 256, 223 / 256, 32 / 256, 220 / 256),
        description="top, bottom, left and right edge of the face as fractions of the image "
        "(official code: rows 35..222 and columns 32..219 of 256)",
    )

    @model_validator(mode="after")
    def _inside(self) -> ArcFaceConfig:
        top, bottom, left, right = self.crop
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ValueError(
                f"crop {self.crop}: expected 0 <= top < bottom <= 1 and 0 <= left < right <= 1"
            )
        return self


class StyleGANVGGConfig(PluginConfig):
    """Options of the projector's feature distance."""

    weights: Path | None = Field(
        None,
        description="path of vgg16.pt, a TorchScript file; its code is executed, so take it only "
        "from a source that you trust; if not given it's looked for in the folder for weights, and "
        "its checksum must be right",
    )
    resize: int = Field(
        256,
        ge=0,
        description="side in pixels that larger images are area-resized to; 0 keeps full size "
        "(projector and multi-view runs: 256)",
    )
