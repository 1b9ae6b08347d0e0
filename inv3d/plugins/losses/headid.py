"""Identity and perceptual distance by the embedded identity networks: no download."""

from __future__ import annotations

from typing import Self, TypeVar

import torch
from torch import Tensor

from inv3d.core.errors import WeightsError, plain_text
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.core.weights.state_dict import open_checkpoint
from inv3d.core.weights.tensors import asset, make_filled, read_tensors
from inv3d.nn.headid import HeadNetwork, build_headid, unit_channels
from inv3d.plugins.losses.options import HeadIDConfig, LookalikesConfig

# between marks of a scale, at least
_STEP = 1e-7
K = TypeVar("K", Tensor, dict[str, Tensor])


class _HeadNetworkLoss(Loss[HeadIDConfig, K]):
    """A loss that reads whole heads with an identity network."""

    Config = HeadIDConfig
    reference = "margin softmax as in ArcFace (Deng et al. 2019), trained by tools/minihead"

    def __init__(self, config: HeadIDConfig, network: HeadNetwork) -> None:
        super().__init__(config)
        self.network = network

    @classmethod
    def create(cls, config: HeadIDConfig) -> Self:
        """Build the loss with its network.

        Raises:
            WeightsError: where the weights are missing or of another network.
        """
        path = config.weights or asset(f"headid_{config.network}.safetensors")
        checkpoint = open_checkpoint(path)
        stored = plain_text(str(checkpoint.metadata.get("network", config.network)))
        if stored != config.network:
            raise WeightsError(
                f"{path}: weights of headid-{stored}, expected headid-{config.network}; "
                f"set option 'network' of loss {cls.name} to '{stored}'"
            )
        tensors, remedy = checkpoint.state_dict(), f"give the weights of headid-{config.network}"
        network = make_filled(lambda: build_headid(config.network), tensors, path, remedy)
        return cls(config, network.eval().requires_grad_(False))


class HeadID(_HeadNetworkLoss[Tensor]):
    """1 - cosine of the embeddings of rendered and target head."""

    name = "headid"
    summary = "1 - cosine of embedded identity features; heads as minihead makes them"
    licence = "Apache-2.0"
    replayable = True

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' unit embeddings, [N, 128]."""
        embeddings: Tensor = self.network(target.images)
        return embeddings

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return 1 - cosine of every view, [N]."""
        embeddings: Tensor = self.network(rendering.require("image"))
        return 1 - (embeddings * cache).sum(1)


class Lookalikes(Loss[LookalikesConfig, Tensor]):
    """Share of near-identical heads that look more like the target, by the identity network.

    Cosines of all heads that are fitted well are nearly 1. Here they're put on the scale of those
    of heads that differ a little, by a fifth of their numbers' spread, seen by the same camera in
    the same light: 0 is nearer than all of them, 0.5 as far as the one in the middle.

    Args:
        config: options.
        identity: 1 - cosine.
        scale: [L] cosines of lookalikes, rising, from the least to the largest in equal shares.
    """

    name = "lookalikes"
    summary = "share of near-identical heads that are nearer by embedded identity features"
    licence = "Apache-2.0"
    reference = "empirical distribution function of headid's cosines, by tools/minihead/lookalikes"
    Config = LookalikesConfig
    label = "Lookalikes"
    digits = 3
    unit = "share of lookalikes that are nearer"
    replayable = True
    scale: Tensor

    def __init__(self, config: LookalikesConfig, identity: HeadID, scale: Tensor) -> None:
        super().__init__(config)
        self.identity = identity
        self.register_buffer("scale", scale)

    @classmethod
    def create(cls, config: LookalikesConfig) -> Self:
        """Build the loss with the embedded network and its scale.

        Raises:
            WeightsError: where one of them is missing.
        """
        scale = read_tensors(asset("lookalikes.safetensors"))[0][config.network]
        return cls(config, HeadID.create(HeadIDConfig(network=config.network, weights=None)), scale)

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' unit embeddings, [N, 128]."""
        embeddings: Tensor = self.identity.prepare(target)
        return embeddings

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return the share of every view, [N] in [0, 1]; linear between the scale's marks."""
        cosine = 1 - self.identity(rendering, cache)
        last = len(self.scale) - 1
        above = torch.searchsorted(self.scale, cosine.detach().contiguous()).clamp(1, last)
        low, high = self.scale[above - 1], self.scale[above]
        part = ((cosine - low) / (high - low).clamp_min(_STEP)).clamp(0, 1)
        share: Tensor = 1 - (above - 1 + part) / last
        return share


class HeadFeatures(_HeadNetworkLoss[dict[str, Tensor]]):
    """A perceptual distance: LPIPS without learned heads, on the identity network's features.

    Features are scaled to unit length over channels; squared differences are averaged over space
    and summed over channels and layers.
    """

    name = "headfeat"
    summary = "perceptual distance on embedded identity features; needs no download"
    licence = "Apache-2.0"
    reference = "LPIPS (Zhang et al. 2018) without learned weights, on headid features"
    replayable = True

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return unit features by layer, [N, C, h, w], of images [N, 3, H, W] in [-1, 1]."""
        return {name: unit_channels(layer) for name, layer in self.activations(images).items()}

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """Return the same as the network makes them, of any length."""
        return {str(i): layer for i, layer in enumerate(self.network.features(images))}

    def prepare(self, target: Target) -> dict[str, Tensor]:
        """Return the targets' features."""
        return self.features(target.images)

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:
        """Return the distance of every view, [N]."""
        features = self.features(rendering.require("image"))
        distances = [
            (layer - cache[name]).square().sum(1).mean((1, 2)) for name, layer in features.items()
        ]
        return torch.stack(distances).sum(0)
