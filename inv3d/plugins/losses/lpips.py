"""LPIPS, the learned perceptual distance, with the networks of the `lpips` package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from inv3d.core.errors import UnsupportedError, WeightsError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.core.weights.fetch import fetch
from inv3d.core.weights.known import WeightFile
from inv3d.core.weights.state_dict import read_state_dict
from inv3d.core.weights.tensors import check_finite
from inv3d.nn.resample import shrink
from inv3d.plugins.losses.options import LEAST_SIDES, LPIPSConfig, NetName


def _backbone_file(name: str, network: str, net: NetName, size: int, sha256: str) -> WeightFile:
    return WeightFile(
        name=name,
        purpose=f"{network} trained on ImageNet, for losses.lpips.net={net}",
        licence="BSD-3-Clause",
        page="https://github.com/pytorch/vision",
        url=f"https://download.pytorch.org/models/{name}",
        size=size,
        sha256=sha256,
        option="--set losses.lpips.weights=PATH",
        without="losses mse, l1 and (for minihead) headfeat need no download",
    )


BACKBONES: dict[NetName, WeightFile] = {
    "vgg": _backbone_file(
        "vgg16-397923af.pth",
        "VGG16",
        "vgg",
        553_433_881,
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "alex": _backbone_file(
        "alexnet-owt-7be5be79.pth",
        "AlexNet",
        "alex",
        244_408_911,
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "squeeze": _backbone_file(
        "squeezenet1_1-b8a52dc0.pth",
        "SqueezeNet 1.1",
        "squeeze",
        4_958_839,
        "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
    ),
}

_LEAST = ", ".join(f"{net}: {side}" for net, side in LEAST_SIDES.items())


class LPIPS(Loss[LPIPSConfig, dict[str, Tensor]]):
    """LPIPS v0.1; the targets' features are computed once."""

    name = "lpips"
    summary = "learned perceptual distance (LPIPS v0.1) with AlexNet, VGG16 or SqueezeNet"
    licence = "lpips: BSD-2-Clause; backbones: torchvision's ImageNet weights, BSD-3-Clause"
    reference = "The Unreasonable Effectiveness of Deep Features (Zhang et al. 2018)"
    Config = LPIPSConfig
    weights = tuple(BACKBONES.values())
    replayable = True

    def __init__(self, config: LPIPSConfig, network: nn.Module) -> None:
        super().__init__(config)
        self.network: Any = network

    @classmethod
    def create(cls, config: LPIPSConfig) -> Self:
        """Build the loss.

        Raises:
            WeightsError: where the backbone's weights can't be had or don't fit.
        """
        return cls(config, _network(config.net, *_backbone(config)))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return unit features by layer, [N, C, h, w], of images [N, 3, H, W] in [-1, 1]."""
        return {name: _unit(layer) for name, layer in self.activations(images).items()}

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """Return the same as the backbone makes them, of any length.

        Raises:
            UnsupportedError: where the pictures are smaller than the backbone takes.
        """
        images = shrink(images, self.config.resize or None, self.config.resize_by)
        side, least = min(images.shape[-2:]), LEAST_SIDES[self.config.net]
        if side < least:
            raise UnsupportedError(
                f"loss {self.name}: found pictures of {side} pixels a side, but "
                f"net={self.config.net} takes {least} and more; leave the loss out, or take a net "
                f"for smaller ones ({_LEAST})"
            )
        layers = self.network.net(self.network.scaling_layer(images))
        return {str(i): layer for i, layer in enumerate(layers)}

    def prepare(self, target: Target) -> dict[str, Tensor]:
        """Return the targets' features."""
        return self.features(target.images)

    def forward(self, rendering: Rendering, cache: dict[str, Tensor]) -> Tensor:
        """Return the distance of every view, [N]."""
        features = self.features(rendering.require("image"))
        distances = [
            head((features[name] - cache[name]).square()).mean((1, 2, 3))
            for name, head in zip(features, self.network.lins, strict=True)
        ]
        return torch.stack(distances).sum(0)


def _unit(layer: Tensor) -> Tensor:
    """Normalise over channels as `lpips` does, without its NaN gradient where all are zero."""
    norm = layer.square().sum(1, keepdim=True).clamp_min(1e-20).sqrt()
    return layer / (norm + 1e-10)


def _network(net: NetName, state: dict[str, Tensor], source: str) -> nn.Module:
    """Build the package's network around a torchvision backbone."""
    import lpips

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network: nn.Module = lpips.LPIPS(pretrained=False, pnet_rand=True, net=net, verbose=False)
    heads = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    network.load_state_dict(read_state_dict(heads), strict=False, assign=True)
    backbone = network.get_submodule("net")
    backbone.load_state_dict(_renamed(backbone, state, source), assign=True)
    return network.eval()


def _renamed(backbone: nn.Module, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Give torchvision's tensors the names of the package's slices."""
    renamed = {}
    for name, expected in backbone.state_dict().items():
        theirs = name.partition(".")[2]
        found = state.get(theirs)
        if found is None or found.shape != expected.shape:
            shape = "missing" if found is None else str(tuple(found.shape))
            raise WeightsError(
                f"{source}: weights of another network: features.{theirs} is {shape}, expected "
                f"{tuple(expected.shape)}; give the file that belongs to losses.lpips.net"
            )
        renamed[name] = found.float()
    check_finite(renamed, source)  # again: not every double is a float
    return renamed


def _backbone(config: LPIPSConfig) -> tuple[dict[str, Tensor], str]:
    """Read the backbone from the given path, a cache or the network."""
    file = BACKBONES[config.net]
    here = None if config.weights else file.find()
    if here is not None:
        file.verify(here)
    path = config.weights or here or fetch(file, "loss lpips")
    return read_state_dict(path, prefix="features."), str(path)
