"""Identity of human faces by ArcFace features."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.core.weights.state_dict import read_state_dict
from inv3d.core.weights.tensors import make_filled
from inv3d.nn.ir_se import IR_SE50_WEIGHTS, ArcFaceNetwork, network_of
from inv3d.nn.resample import shrink
from inv3d.plugins.losses.options import ArcFaceConfig

FULL_SIZE = 256
WEIGHTS = replace(
    IR_SE50_WEIGHTS,
    option="--set losses.arcface.weights=PATH",
    without="--set losses.arcface=0 goes without",
)


class ArcFace(Loss[ArcFaceConfig, Tensor]):
    """1 - cosine of features of rendered and target face, by the network that the weights are of.

    That's IR-SE50; a file of another one of its kind, such as CurricularFace's IR-101, will do too.
    """

    name = "arcface"
    summary = "1 - cosine of ArcFace (IR-SE50) features; real human faces; needs a weight file"
    licence = "code Apache-2.0; weights: see their source (research use)"
    reference = "ArcFace (Deng et al. 2019); Multi-view Inversion for 3D-aware GANs, term L_ID"
    Config = ArcFaceConfig
    weights = (WEIGHTS,)
    replayable = True

    def __init__(self, config: ArcFaceConfig, network: ArcFaceNetwork) -> None:
        super().__init__(config)
        self.network = network

    @classmethod
    def create(cls, config: ArcFaceConfig) -> Self:
        """Build the loss.

        Raises:
            WeightsError: where the weight file is missing or of another network.
        """
        path = config.weights or WEIGHTS.locate("loss arcface")
        tensors = read_state_dict(path)
        remedy = f"give {WEIGHTS.name}, or another network of its kind"
        network = make_filled(lambda: network_of(tensors), tensors, path, remedy)
        return cls(config, network.eval())

    def features(self, images: Tensor) -> Tensor:
        """Return unit features [N, 512] of images [N, 3, H, W] in [-1, 1]."""
        features: Tensor = self.network(self.faces(images))
        return features

    def faces(self, images: Tensor) -> Tensor:
        """Return what the network sees, [N, 3, 112, 112] of IR-SE50."""
        images = shrink(images, FULL_SIZE)
        height, width = images.shape[-2:]
        top, bottom = (round(edge * height) for edge in self.config.crop[:2])
        left, right = (round(edge * width) for edge in self.config.crop[2:])
        return F.adaptive_avg_pool2d(images[..., top:bottom, left:right], self.network.size)

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' features, [N, 512]."""
        return self.features(target.images)

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return 1 - cosine of every view, [N]."""
        return 1 - (self.features(rendering.require("image")) * cache).sum(1)
