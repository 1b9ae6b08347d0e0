"""pSp: a picture to one latent a layer, by one pass of an encoder."""

from __future__ import annotations

from typing import ClassVar

from inv3d.core.plugin import Presets
from inv3d.core.training_options import TrainingConfig
from inv3d.nn.ir_se import IR_SE50_WEIGHTS
from inv3d.plugins.methods.encoders.latents import LatentEncoder
from inv3d.plugins.methods.encoders.options import PSPConfig, PSPTraining

LOSSES = {
    "mse": {"weight": 1.0, "resolution": 256},
    "lpips": {"weight": 0.8, "net": "alex"},
    "arcface": 0.1,
}


class PSP(LatentEncoder[PSPConfig, PSPTraining]):
    """The encoder of Pixel2Style2Pixel for 3D-aware generators."""

    name = "psp"
    summary = "W+ latents of the front view by one pass of an encoder; trained for minihead"
    licence = "Apache-2.0"
    reference = "Richardson et al., Encoding in Style (pSp), CVPR 2021"
    Config = PSPConfig
    Training: ClassVar[type[TrainingConfig]] = PSPTraining
    weights = (IR_SE50_WEIGHTS,)
    training_presets: ClassVar[Presets] = {
        "paper": PSPTraining.plainly(losses=LOSSES, trunk=IR_SE50_WEIGHTS.name)
    }
