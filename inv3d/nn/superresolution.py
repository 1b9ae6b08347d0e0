"""EG3D's super-resolution modules: two StyleGAN2 blocks behind the rendered features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.core.errors import UnsupportedError
from inv3d.nn.filters import resample_filter
from inv3d.nn.resample import bilinear
from inv3d.nn.stylegan2 import NoiseMode, SynthesisBlock

SuperresolutionName = Literal["8XDC", "8X", "4X", "2X", "Deepfp32"]


@dataclass(frozen=True)
class SuperresolutionKind:
    """What tells the official modules apart.

    Attributes:
        input_resolution: to which rendered features are resized.
        channels: of the two blocks.
        first_up: whether the first block doubles the resolution (the second always does).
        shrink: whether larger features are resized too.
        antialias: whether resizing may filter.
        own_filter: whether the module carries an unused copy of the filter.
    """

    input_resolution: int
    channels: tuple[int, int]
    first_up: bool
    shrink: bool = True
    antialias: bool = True
    own_filter: bool = False

    @property
    def factor(self) -> int:
        """Output size divided by input size."""
        return 4 if self.first_up else 2


KINDS: dict[SuperresolutionName, SuperresolutionKind] = {
    "8XDC": SuperresolutionKind(128, (256, 128), first_up=True),
    "8X": SuperresolutionKind(128, (128, 64), first_up=True),
    "4X": SuperresolutionKind(128, (128, 64), first_up=False, shrink=False, own_filter=True),
    "2X": SuperresolutionKind(64, (128, 64), first_up=False, own_filter=True),
    "Deepfp32": SuperresolutionKind(
        128, (128, 64), first_up=False, shrink=False, antialias=False, own_filter=True
    ),
}


class Superresolution(nn.Module):
    """Rendered features to the final image: two blocks of StyleGAN2, the second doubles.

    Args:
        name: an official module ("SuperresolutionHybrid" + name).
        in_channels: of the rendered features.
        w_dim: size of w.
        clamp: of all activations; the official fp16 configuration has 256, even in float32.
        antialias: filter when features are made smaller.
        channels: of the two blocks, the official ones unless given.
        input_resolution: the official one unless given.
        use_noise: as in SynthesisLayer.
        margin: input pixels by which features are continued beyond their edges; the outermost
            pixels are repeated, and the picture is cut out again.
    """

    def __init__(
        self,
        name: SuperresolutionName,
        in_channels: int,
        w_dim: int,
        clamp: float | None = None,
        antialias: bool = True,
        channels: tuple[int, int] | None = None,
        input_resolution: int | None = None,
        use_noise: bool = True,
        margin: int = 0,
    ) -> None:
        super().__init__()
        self.name, self.kind, self.margin = name, KINDS[name], margin
        self.use_noise = use_noise
        self.input_resolution = input_resolution or self.kind.input_resolution
        self.antialias = antialias and self.kind.antialias
        first, second = channels or self.kind.channels
        self.resolution = self.input_resolution * self.kind.factor
        if self.kind.own_filter:
            self.register_buffer("resample_filter", resample_filter())
        else:
            self.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
                _without_filter
            )
        self.block0 = SynthesisBlock(
            in_channels, first, w_dim, self.resolution // 2, 3, self.kind.first_up, clamp, use_noise
        )
        self.block1 = SynthesisBlock(
            first, second, w_dim, self.resolution, 3, True, clamp, use_noise
        )

    def forward(
        self,
        features: Tensor,
        w: Tensor,
        noise: NoiseMode = "none",
        rng: torch.Generator | None = None,
        resize: bool = True,
        image: Tensor | None = None,
    ) -> Tensor:
        """Return the final images [N, 3, H, W].

        Args:
            features: [N, C, h, h].
            w: [S, w_dim], N a multiple of S.
            noise: which noise the convolutions add.
            rng: where random noise comes from.
            resize: bring features to the input resolution; patches keep their size.
            image: the raw image [N, 3, h, h], the first three features unless given.

        Raises:
            UnsupportedError: where noise is wanted for features of another size than its maps.
        """
        x = self._resize(features) if resize else features
        if noise != "none" and self.use_noise and x.shape[-1] != self.input_resolution:
            raise UnsupportedError(
                f"super-resolution {self.name} has noise for features of {self.input_resolution} "
                f"pixels a side, found {x.shape[-1]}; take no more rays a side than these, or "
                "superresolution.noise_mode=none"
            )
        if image is None:
            image = x[:, :3]
        elif resize:
            image = self._resize(image)
        ws = (w, w, w)
        x, image = self._continued(x), self._continued(image)
        x, image = self.block0(x, image, ws, noise, rng)
        final: Tensor = self.block1(x, image, ws, noise, rng)[1]
        return self._cut(final)

    def _continued(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.margin,) * 4, mode="replicate") if self.margin else x

    def _cut(self, image: Tensor) -> Tensor:
        edge = self.margin * self.kind.factor
        return image[..., edge:-edge, edge:-edge] if edge else image

    def _resize(self, x: Tensor) -> Tensor:
        if x.shape[-1] > self.input_resolution and not self.kind.shrink:
            return x
        return bilinear(x, self.input_resolution, self.antialias)


def _without_filter(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Drop the unused filter that official modules without need of one may carry."""
    state.pop(f"{prefix}resample_filter", None)
