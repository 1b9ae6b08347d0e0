"""The VGG16 feature distance of the StyleGAN2-ADA projector."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from inv3d.core.errors import WeightsError
from inv3d.core.loss import Loss, Target
from inv3d.core.scene import Rendering
from inv3d.core.weights.archive import is_torch_save, listed, mapped, open_archive
from inv3d.core.weights.forms import ZIP, describe, read_start
from inv3d.core.weights.known import WeightFile
from inv3d.core.weights.unpickle import Refused
from inv3d.nn.resample import shrink
from inv3d.plugins.losses.options import StyleGANVGGConfig

WEIGHTS = WeightFile(
    name="vgg16.pt",
    purpose="VGG16 features of the StyleGAN2-ADA projector (TorchScript)",
    licence="NVIDIA Source Code License (non-commercial)",
    page="https://github.com/NVlabs/stylegan2-ada-pytorch",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/vgg16.pt",
    sha256="b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3",
    noncommercial=True,
    option="--set losses.stylegan_vgg.weights=PATH",
    without="loss lpips with net=vgg measures the same",
)


class StyleGANVGG(Loss[StyleGANVGGConfig, Tensor]):
    """Squared distance of the projector's VGG16 features, summed over all features.

    The file is TorchScript: loading it and calling it executes the graph that it holds. The
    features are already normalised and weighted so that the squared distance of two vectors is
    LPIPS (VGG, v0.1) of the two images.
    """

    name = "stylegan_vgg"
    summary = "VGG16 feature distance of the StyleGAN2-ADA projector; needs its TorchScript file"
    licence = "code Apache-2.0; weights: NVIDIA Source Code License"
    reference = "StyleGAN2-ADA projector; Multi-view Inversion for 3D-aware GANs, term L_P"
    Config = StyleGANVGGConfig
    weights = (WEIGHTS,)
    replayable = True

    def __init__(self, config: StyleGANVGGConfig, network: nn.Module) -> None:
        super().__init__(config)
        self.network = network

    @classmethod
    def create(cls, config: StyleGANVGGConfig) -> Self:
        """Load the file.

        Raises:
            WeightsError: where it's missing or no TorchScript file.
        """
        path = config.weights or WEIGHTS.locate("loss stylegan_vgg")
        if not path.is_file():
            raise WeightsError(f"loss stylegan_vgg: {path}: no such file; give {WEIGHTS.option}")
        if config.weights is None:
            WEIGHTS.verify(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                network = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError):
            raise WeightsError(
                f"{path}: not a TorchScript file but {_described(path)}; fetch {WEIGHTS.name} from "
                f"{WEIGHTS.page}"
            ) from None
        return cls(config, network.eval())

    def features(self, images: Tensor) -> Tensor:
        """Return features [N, F] of images [N, 3, H, W] in [-1, 1].

        The network takes [0, 255] and may change its input in place, so it's given a tensor of
        its own.
        """
        levels = shrink((images + 1) * 127.5, self.config.resize or None)
        features: Tensor = self.network(levels, resize_images=False, return_lpips=True)
        return features

    def prepare(self, target: Target) -> Tensor:
        """Return the targets' features, [N, F]."""
        return self.features(target.images)

    def forward(self, rendering: Rendering, cache: Tensor) -> Tensor:
        """Return the squared distance of every view, [N]."""
        return (self.features(rendering.require("image")) - cache).square().sum(1)


def _described(path: Path) -> str:
    """Say what a file is that can't be loaded as TorchScript."""
    start = read_start(path)
    if not start.startswith(ZIP):
        return describe(start)
    try:
        with path.open("rb") as file, mapped(file) as data, open_archive(data) as archive:
            names = archive.namelist()
    except Refused as error:
        return f"a file that {error}"
    if any(name.endswith("/constants.pkl") for name in names):
        return "a damaged one"
    if is_torch_save(names):
        return "tensors or objects, as torch.save writes them"
    return f"a zip archive of other files ({listed(names)})"
