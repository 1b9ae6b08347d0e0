"""Options and presets of HFGI3D."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from inv3d.core.config import PluginConfig
from inv3d.core.fit.options import (
    PLAIN_ADAM,
    FitConfig,
    PivotalOptions,
    SearchOptions,
    TuningOptions,
)
from inv3d.core.fit.terms import Keep, LossTerms
from inv3d.core.plugin import Presets


class CoarseTuning(PivotalOptions):
    """Options of the first tuning, which ends early."""

    steps: int = Field(
        default=100,
        ge=0,
        description="optimisation steps at most; 0 takes the shape of the latent alone. paper: 0 "
        "(official: 500)",
    )


class CoarseOptions(PluginConfig):
    """Options of the coarse fit, which the shape is taken from."""

    latent: SearchOptions = Field(
        default=SearchOptions(), description="the latent stage, generator frozen"
    )
    tuning: CoarseTuning = Field(
        default=CoarseTuning(), description="the first tuning; only its shape and pictures are kept"
    )


class PathOptions(PluginConfig):
    """Options of the pseudo views: cameras on an ellipse around where they look from."""

    views: int = Field(default=30, ge=1, description="number of pseudo views. paper: 30")
    yaw_deg: float = Field(
        default=20.05,
        ge=0,
        description="how far they go to each side, degrees. official: 20.05 (0.35 rad)",
    )
    pitch_deg: float = Field(
        default=9.16,
        ge=0,
        description="how far they go up and down, degrees. official: 9.16 (0.25 of EG3D's "
        "vertical number)",
    )
    rise_deg: float = Field(
        default=1.82,
        description="how far the middle of the ellipse lies above `around`, degrees. official: "
        "1.82 (0.05 of EG3D's vertical number)",
    )
    around: Literal["front", "input"] = Field(
        default="front",
        description="where the middle of the ellipse lies: at the front of the generator's prior, "
        "or at the picture's own camera. official: front",
    )


class VisibleOptions(PluginConfig):
    """Options of the visible part: the picture, warped to the pseudo views."""

    warp: bool = Field(
        default=True,
        description="put the warped picture into the pseudo views; false is the paper's ablation "
        "without it, pseudo views that the generator makes alone. paper: true",
    )
    tolerance: float = Field(
        default=0.02,
        gt=0,
        description="how far behind the picture's surface a point may lie and still count as "
        "seen, world units. official: 0.00195 (1/512), between points of one mesh; here depths of "
        "two renderings are compared, which differ by more",
    )
    grazing_deg: float = Field(
        default=60.0,
        gt=0,
        le=90,
        description="angle between the surface and the way to the picture's camera, measured from "
        "its normal, above which a point isn't taken: the picture shows it squeezed together. "
        "official: about 58, by the same 1/512 within a pixel (paper: not given)",
    )
    shrink: int = Field(
        default=3,
        ge=1,
        description="side of the square that what is seen is eroded by, pixels of a picture of "
        "512. official: 3",
    )
    shrink_outline: int = Field(
        default=51,
        ge=1,
        description="the same for what the picture's frame covers. official: 51 (paper: not given)",
    )
    feather: int = Field(
        default=21,
        ge=1,
        description="size of the blur of the mask, pixels of a picture of 512. paper: 21 "
        "(radius 10)",
    )
    blend: Literal["gaussian", "poisson"] = Field(
        default="gaussian",
        description="how warped picture and occluded part are put together: faded into one "
        "another, or by their gradients (slower, no seam in brightness). paper: either (official: "
        "gaussian)",
    )


class OccludedOptions(PluginConfig):
    """Options of the occluded part: what the picture doesn't show."""

    source: Literal["render", "latent", "none"] = Field(
        default="render",
        description="what shows it: the coarse fit; a second latent, fitted to the picture without "
        "what the generator can't make; or nothing (the paper's ablation), which leaves it free. "
        "paper: latent (official: render)",
    )
    theta: float = Field(
        default=0.1,
        gt=0,
        description="for the second latent: difference from the coarse latent's picture above "
        "which a pixel is out of distribution, root mean square over the colours in [-1, 1]. "
        "paper: not given (official: none)",
    )
    latent: SearchOptions = Field(
        default=SearchOptions(), description="the stage of the second latent"
    )


class FinalOptions(TuningOptions):
    """Options of the final tuning on the picture and the pseudo views."""

    steps: int = Field(
        default=1000, ge=0, description="optimisation steps. paper: 3000 (official: 1000)"
    )
    lr: float = Field(default=3e-4, gt=0, description="learning rate. paper: 3e-4")
    latent_lr: float = Field(
        default=0.0,
        ge=0,
        description="learning rate of the latent, which is tuned together with the generator; 0 "
        "leaves it as it is. paper: tuned, rate not given (official: 0)",
    )
    form: Literal["blended", "separate"] = Field(
        default="blended",
        description="compare pseudo views with one picture, blended of both parts, or with each "
        "part where it counts. paper: separate, eq. 5 (official: blended)",
    )
    alpha: float = Field(
        default=1.0, ge=0, description="weight of the pseudo views. paper: not given (official: 1)"
    )
    views_per_step: int = Field(
        default=1,
        ge=1,
        description="random pseudo views that a step takes besides the picture; their losses are "
        "averaged. official: 1",
    )
    keep: Keep = Field(
        default="last",
        description="where the last step led, or from where a step saw the lowest total loss. "
        "official: last",
    )
    losses: LossTerms = Field(
        default_factory=dict,
        description="losses of this stage, stronger than the method's. official: mse and lpips "
        "(alex), 1 each",
    )


class HFGI3DConfig(FitConfig):
    """Options of HFGI3D."""

    coarse: CoarseOptions = Field(
        default=CoarseOptions(), description="the coarse fit of latent and shape"
    )
    path: PathOptions = Field(default=PathOptions(), description="cameras of the pseudo views")
    visible: VisibleOptions = Field(
        default=VisibleOptions(), description="the part that the picture shows"
    )
    occluded: OccludedOptions = Field(
        default=OccludedOptions(), description="the part that it doesn't show"
    )
    inpaint_from: str | None = Field(
        default=None,
        description="name of another method whose result shows the occluded part, instead of "
        "`occluded.source`. paper: none",
    )
    inpaint: dict[str, Any] = Field(
        default_factory=dict, description="options of that method. paper: none"
    )
    final: FinalOptions = Field(default=FinalOptions(), description="the final tuning")

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        nothing = self.occluded.source == "none" and self.inpaint_from is None
        if nothing and not self.visible.warp:
            raise ValueError(
                "visible.warp is false and occluded.source is none, so pseudo views would show "
                "nothing; leave one of them in, or take method pti"
            )
        return self


_PROJECTOR = {"optimizer": "adam", "pull": 0.0, "noise_maps": 1e5, "samples": 600}
_LATENT = {"losses": {"lpips": {"weight": 1.0, "net": "vgg"}}, **_PROJECTOR}
_TUNING = {"losses": {"lpips": {"weight": 1.0, "net": "alex", "resize": 0}, "mse": 1.0}}
_MASKS = {
    "grazing_deg": 58.0,
    "shrink": 3,
    "shrink_outline": 51,
    "feather": 21,
    "blend": "gaussian",
}

# the official code's numbers; the heights are parts of its sampler's, which counts 0 to pi
_PATH = {
    "views": 30,
    "yaw_deg": math.degrees(0.35),
    "pitch_deg": math.degrees(math.asin(2 * 0.25 / math.pi)),
    "rise_deg": math.degrees(math.asin(2 * 0.05 / math.pi)),
}

PRESETS: Presets = {
    "official": {
        "default_losses": False,
        "coarse": {
            "latent": {"steps": 500, "lr": 0.01, **_LATENT},
            "tuning": {"steps": 500, "lr": 3e-4, **PLAIN_ADAM, "threshold": 0.06, **_TUNING},
        },
        "path": _PATH,
        "visible": _MASKS,
        "occluded": {"source": "render", "latent": {"steps": 500, "lr": 0.01, **_LATENT}},
        "final": {
            "steps": 1000,
            "lr": 3e-4,
            **PLAIN_ADAM,
            "latent_lr": 0.0,
            "form": "blended",
            **_TUNING,
        },
    },
    "paper": {
        "default_losses": False,
        "coarse": {
            "latent": {"steps": 1000, "lr": 5e-3, **_LATENT},
            "tuning": {"steps": 0, "lr": 3e-4, **PLAIN_ADAM},
        },
        "path": _PATH,
        "visible": _MASKS,
        "occluded": {"source": "latent", "latent": {"steps": 1000, "lr": 5e-3, **_LATENT}},
        "final": {
            "steps": 3000,
            "lr": 3e-4,
            **PLAIN_ADAM,
            "latent_lr": 3e-4,
            "form": "separate",
            **_TUNING,
        },
    },
    "fast": {
        "coarse": {"latent": {"steps": 100, "samples": 2000}, "tuning": {"steps": 20}},
        "path": {"views": 12},
        "occluded": {"latent": {"steps": 100, "samples": 2000}},
        "final": {"steps": 60},
    },
}
