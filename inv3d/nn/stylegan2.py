"""StyleGAN2's mapping and synthesis networks in plain torch (arXiv 1912.04958, skip architecture).

Module and tensor names are those of the official state dicts. Beyond StyleGAN2 there are learned
constant feature maps and a learned base image, which let a small network converge on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from inv3d.nn.filters import resample_filter, upsample
from inv3d.nn.known_factors import KnownFactors
from inv3d.nn.layers import EqualLinear, normalize_second_moment, standard_normal
from inv3d.nn.modulated.layer import modulated_layer
from inv3d.nn.resample import resize

NoiseMode = Literal["none", "const", "random"]


class MappingNetwork(nn.Module):
    """z and an optional condition to w.

    Args:
        z_dim: size of z.
        c_dim: size of the condition, 0 for none.
        w_dim: size of w.
        layers: fully connected layers.
        embed_features: size of the embedded condition, w_dim unless given.
        layer_features: size of the hidden layers, w_dim unless given.
        lr_multiplier: of the layers (not of the embedding).
        normalize_z: scale z (and the embedded condition) to a mean square of one.
        activate_last: leaky ReLU behind the last layer too.
        factors: known factors of z that w ends with; the layers see them too.
        factor_ramps: ramps that they are sums of.
    """

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        layers: int = 8,
        embed_features: int | None = None,
        layer_features: int | None = None,
        lr_multiplier: float = 0.01,
        normalize_z: bool = True,
        activate_last: bool = True,
        factors: int = 0,
        factor_ramps: int = 0,
    ) -> None:
        super().__init__()
        self.c_dim, self.layers, self.normalize_z = c_dim, layers, normalize_z
        self.known = KnownFactors(z_dim, factor_ramps, factors) if factors else None
        embed = (embed_features or w_dim) if c_dim else 0
        inner = [layer_features or w_dim] * (layers - 1)
        sizes = [z_dim + embed + factors, *inner, w_dim - factors]
        if c_dim:
            self.embed = EqualLinear(c_dim, embed)
        for index, (before, after) in enumerate(pairwise(sizes)):
            activate = activate_last or index < layers - 1
            layer = EqualLinear(before, after, lr_multiplier, activate=activate)
            self.add_module(f"fc{index}", layer)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return w [B, w_dim] for z [B, z_dim] and a condition [B, c_dim]."""
        x = self._normalize(z)
        if self.c_dim:
            assert condition is not None
            x = torch.cat([x, self._normalize(self.embed(condition))], dim=1)
        if self.known is None:
            return self._learned(x)
        factors = self.known(z)
        learned = self._learned(torch.cat([x, factors], dim=1))
        return torch.cat([learned, factors * self.known.gain], dim=1)

    def _learned(self, x: Tensor) -> Tensor:
        for index in range(self.layers):
            x = getattr(self, f"fc{index}")(x)
        return x

    def _normalize(self, x: Tensor) -> Tensor:
        return normalize_second_moment(x) if self.normalize_z else x


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, leaky ReLU.

    Args:
        in_channels: I.
        out_channels: O.
        w_dim: size of w.
        resolution: of the output.
        up: double the resolution.
        clamp: largest absolute value of the output, None for no limit.
        use_noise: carry a noise map and its strength.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: bool = False,
        clamp: float | None = None,
        use_noise: bool = True,
    ) -> None:
        super().__init__()
        self.up, self.clamp, self.use_noise = up, clamp, use_noise
        self.resolution = resolution
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(standard_normal(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", resample_filter())
        if use_noise:
            self.register_buffer("noise_const", standard_normal(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))

    def forward(
        self,
        x: Tensor,
        w: Tensor,
        noise: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Return [N, O, R, R] for x [N, I, h, h] and w [S, w_dim], N a multiple of S."""
        return modulated_layer(
            x,
            self.weight,
            self.affine(w),
            self.bias,
            self._noise(len(x), noise, rng) if self.use_noise and noise != "none" else None,
            up=self.resample_filter if self.up else None,
            clamp=self.clamp,
        )

    def _noise(self, count: int, mode: NoiseMode, rng: torch.Generator | None) -> Tensor:
        if mode == "const":
            return self.noise_const[None, None] * self.noise_strength
        if rng is None:
            raise ValueError("random noise needs a torch.Generator: set generator.rng")
        shape = (count, 1, self.resolution, self.resolution)
        drawn = torch.randn(shape, generator=rng, device=rng.device).to(self.noise_const)
        return drawn * self.noise_strength


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to image channels, without demodulation."""

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(standard_normal(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = in_channels**-0.5

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return [N, O, R, R] for x [N, I, R, R] and w [S, w_dim]."""
        styles = self.affine(w) * self.weight_gain
        return modulated_layer(
            x, self.weight, styles, self.bias, demodulate=False, activate=False, clamp=self.clamp
        )


class SynthesisBlock(nn.Module):
    """One resolution: (up-)convolution, convolution, and an image that grows by addition.

    Args:
        in_channels: 0 for the first block, which starts from a learned constant.
        out_channels: of both convolutions.
        w_dim: size of w.
        resolution: of the output.
        img_channels: of the image.
        up: whether the block doubles the resolution.
        clamp: of all activations.
        use_noise: as in SynthesisLayer.
        constant_map: add a learned feature map behind the first convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        up: bool = True,
        clamp: float | None = None,
        use_noise: bool = True,
        constant_map: bool = False,
    ) -> None:
        super().__init__()
        self.up, self.first = up, in_channels == 0
        self.register_buffer("resample_filter", resample_filter())
        if self.first:
            self.const = nn.Parameter(standard_normal(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(
                in_channels, out_channels, w_dim, resolution, up, clamp, use_noise
            )
        self.constant_map = (
            nn.Parameter(torch.zeros(out_channels, resolution, resolution))
            if constant_map and not self.first
            else None
        )
        self.conv1 = SynthesisLayer(
            out_channels, out_channels, w_dim, resolution, False, clamp, use_noise
        )
        self.torgb = ToRGB(out_channels, img_channels, w_dim, clamp)
        self.num_conv = 1 if self.first else 2

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Sequence[Tensor],
        noise: NoiseMode = "const",
        rng: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return features and image.

        Args:
            x: [N, I, h, h], None for the first block.
            image: [N, img_channels, h, h] or None.
            ws: one [S, w_dim] for every convolution and one for the image.
            noise: which noise the convolutions add.
            rng: where random noise comes from.
        """
        if x is None:
            x = self.const.expand(len(ws[0]), -1, -1, -1)
        else:
            x = self.conv0(x, ws[0], noise, rng)
        if self.constant_map is not None:
            x = x + self.constant_map
        x = self.conv1(x, ws[self.num_conv - 1], noise, rng)
        y = self.torgb(x, ws[self.num_conv])
        if image is not None:
            y = y + (upsample(image) if self.up else image)
        return x, y


class SynthesisNetwork(nn.Module):
    """ws to an image of any number of channels.

    Args:
        w_dim: size of w.
        channels: of every block, from 4 x 4 upwards; their number gives the resolution.
        img_channels: of the image.
        clamp: of all activations.
        use_noise: as in SynthesisLayer.
        constant_maps: learned feature maps and a learned base image.
        base_resolution: pixels a side of the base image, those of the image unless given.
    """

    def __init__(
        self,
        w_dim: int,
        channels: Sequence[int],
        img_channels: int,
        clamp: float | None = None,
        use_noise: bool = True,
        constant_maps: bool = False,
        base_resolution: int | None = None,
    ) -> None:
        super().__init__()
        self.resolutions = [4 << index for index in range(len(channels))]
        self.num_ws = 2 * len(channels)
        before = 0
        for resolution, after in zip(self.resolutions, channels, strict=True):
            block = SynthesisBlock(
                before, after, w_dim, resolution, img_channels, before > 0, clamp, use_noise,
                constant_maps,
            )  # fmt: skip
            self.add_module(f"b{resolution}", block)
            before = after
        size = base_resolution or self.resolutions[-1]
        self.base = nn.Parameter(torch.zeros(img_channels, size, size)) if constant_maps else None

    def forward(
        self, ws: Tensor, noise: NoiseMode = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Return [B, img_channels, R, R] for ws [B, num_ws, w_dim]."""
        rows = ws.unbind(1)
        x: Tensor | None = None
        image: Tensor | None = None
        index = 0
        for resolution in self.resolutions:
            block = getattr(self, f"b{resolution}")
            x, image = block(x, image, rows[index:], noise, rng)
            index += block.num_conv
        assert image is not None
        return image if self.base is None else image + resize(self.base[None], image.shape[-1])


class StyleGAN2Backbone(nn.Module):
    """Mapping and synthesis under the names of the official state dicts.

    Args:
        mapping: z to w.
        synthesis: ws to the planes, an image with all of their channels.
    """

    def __init__(self, mapping: MappingNetwork, synthesis: SynthesisNetwork) -> None:
        super().__init__()
        self.synthesis = synthesis
        self.mapping = mapping


def default_channels(resolution: int, base: int, most: int) -> list[int]:
    """Return the channels of the blocks from 4 x 4 to a resolution (a power of two)."""
    count = resolution.bit_length() - 2
    return [min(base // (4 << index), most) for index in range(count)]
