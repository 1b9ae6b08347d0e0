"""The optimisation step as the published multi-view inversion does it, for comparison.

Every view is one full synthesis of its own: backbone, rendering, super-resolution. Planes are
sampled by grid_sample on NCHW maps, convolutions carry one modulated set of weights a sample in
groups, resampling inserts zeros and filters, noise, bias and activation are separate operations,
targets are prepared again in every step, and each view is back-propagated on its own. Written
from the papers (StyleGAN2, arXiv 1912.04958; EG3D, arXiv 2112.07945), on the tensors of a
`TriplaneGenerator`, so that both ways compute the same from the same weights; tri-grids (PanoHead,
arXiv 2303.13071) without background are read too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.core.camera import Camera
from inv3d.core.errors import ConfigError
from inv3d.core.fit.objective import WeightedLoss
from inv3d.core.loss import Target
from inv3d.core.scene import Rendering
from inv3d.nn.eg3d.architecture import Architecture, TrigridArchitecture
from inv3d.nn.eg3d.generator import FP16_CLAMP, TriplaneGenerator
from inv3d.nn.planes.triplane import AXES
from inv3d.nn.raymarch.planes import EMPTY
from inv3d.nn.resample import resize
from inv3d.nn.superresolution import KINDS

Upsampling = Literal["transposed", "zeros"]
ZERO_TAP = 1e-10


@dataclass(frozen=True)
class Scope:
    """The tensors of one layer, by their names within it."""

    tensors: Mapping[str, Tensor]
    prefix: str = ""

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.prefix + name]

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def within(self, name: str) -> Scope:
        """Return the tensors of a layer inside."""
        return Scope(self.tensors, f"{self.prefix}{name}.")


def upfirdn(
    x: Tensor, taps: Tensor, *, up: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0
) -> Tensor:
    """Insert zeros, pad both axes by (before, after), and filter every channel.

    Args:
        x: [N, C, H, W].
        taps: [k, k], symmetric.
        up: the factor of the resolution.
        pad: rows and columns of zeros.
        gain: factor of the result.
    """
    batch, channels, height, width = x.shape
    if up > 1:
        spread = x.new_zeros(batch, channels, height, up, width, up)
        spread[:, :, :, 0, :, 0] = x
        x = spread.reshape(batch, channels, height * up, width * up)
    x = F.pad(x, (*pad, *pad))
    kernel = (taps * gain).expand(channels, 1, *taps.shape)
    return F.conv2d(x, kernel, groups=channels)


def linear(layer: Scope, x: Tensor, lr_multiplier: float = 1.0) -> Tensor:
    """Apply a fully connected layer with equalised learning rate, [..., I] to [..., O]."""
    weight = layer["weight"] * (lr_multiplier / math.sqrt(layer["weight"].shape[1]))
    return torch.addmm(layer["bias"] * lr_multiplier, x, weight.t())


def modulated_convolution(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    up: bool = False,
    taps: Tensor | None = None,
    upsampling: Upsampling = "transposed",
) -> Tensor:
    """Convolve every sample with its own modulated weights, as groups of one convolution.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k].
        styles: [N, I].
        demodulate: normalise every output channel.
        up: double the resolution.
        taps: the low-pass filter, where `up`.
        upsampling: "transposed" convolves transposed and filters, as StyleGAN2's code does;
            "zeros" inserts zeros, filters, and convolves at the doubled resolution.
    """
    batch, outputs, size = len(x), weight.shape[0], weight.shape[-1]
    weights = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        weights = weights * (weights.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, -1, *x.shape[2:])
    if not up:
        y = F.conv2d(x, weights.flatten(0, 1), padding=size // 2, groups=batch)
    elif upsampling == "transposed":
        assert taps is not None
        y = F.conv_transpose2d(x, weights.transpose(1, 2).flatten(0, 1), stride=2, groups=batch)
        y = upfirdn(y, taps, pad=(1, 1), gain=4)
    else:
        assert taps is not None
        y = upfirdn(x, taps, up=2, pad=(3, 2), gain=4)
        y = F.conv2d(y, weights.flatten(0, 1).flip(2, 3), groups=batch)
    return y.reshape(batch, outputs, *y.shape[2:])


def sample_depths(depths: Tensor, weights: Tensor, count: int) -> Tensor:
    """Place samples at even positions of the distribution that coarse weights give.

    Args:
        depths: [R, S].
        weights: [R, S - 1].
        count: of fine samples.

    Returns:
        [R, count].
    """
    smooth = F.max_pool1d(weights[:, None], 2, 1, padding=1)
    smooth = F.avg_pool1d(smooth, 2, 1)[:, 0] + 0.01
    middles = (depths[:, :-1] + depths[:, 1:]) / 2
    density = smooth[:, 1:-1] + 1e-5
    density = density / density.sum(1, keepdim=True)
    cumulated = torch.cat([torch.zeros_like(density[:, :1]), density.cumsum(1)], 1)
    u = torch.linspace(0, 1, count).to(depths).expand(len(depths), count).contiguous()
    upper = torch.searchsorted(cumulated, u, right=True)
    lower, upper = (upper - 1).clamp(min=0), upper.clamp(max=density.shape[1])
    ends = torch.stack([lower, upper], -1).flatten(1)
    low, high = cumulated.gather(1, ends).reshape(len(depths), count, 2).unbind(-1)
    near, far = middles.gather(1, ends).reshape(len(depths), count, 2).unbind(-1)
    width = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
    return near + (u - low) / width * (far - near)


@dataclass(frozen=True)
class Seen:
    """What the rays of one view see.

    Attributes:
        features: [1, C, h, h].
        depth: [1, 1, h, h], the sum of weighted distances: expected depth times opacity.
    """

    features: Tensor
    depth: Tensor


class ReferenceNetwork:
    """Full synthesis of one view from the tensors of a generator.

    Args:
        generator: with fixed ray limits, even depths and deterministic samples.
        upsampling: of the convolutions.

    Raises:
        ConfigError: for options that only the product computes.
    """

    def __init__(self, generator: TriplaneGenerator, upsampling: Upsampling = "transposed") -> None:
        a = generator.architecture
        _check(a, generator.sampling)
        self.architecture = a
        self.upsampling = upsampling
        self.scope = Scope(
            {**dict(generator.named_parameters()), **dict(generator.named_buffers())}
        )
        self.resolutions = generator.backbone.synthesis.resolutions

    def __call__(self, ws: Tensor, camera: Camera) -> Rendering:
        """Synthesise one view: ws [1, num_ws, w_dim], one camera."""
        features = self.march(self.planes(ws), camera).features
        return Rendering(image=self.superresolve(features, ws[:, -1]), ws=ws)

    def planes(self, ws: Tensor) -> Tensor:
        """The backbone: three planes, [3, C, R, R], or [3, C, D, R, R] of a tri-grid."""
        a = self.architecture
        network = self.scope.within("backbone.synthesis")
        x: Tensor | None = None
        image: Tensor | None = None
        rows = list(ws.unbind(1))
        for resolution in self.resolutions:
            block = network.within(f"b{resolution}")
            x, image = self._block(block, x, image, rows, True, a.conv_clamp, "const")
            rows = rows[1 if resolution == self.resolutions[0] else 2 :]
        assert image is not None
        if "base" in network:
            image = image + resize(network["base"][None], image.shape[-1])
        slices = (a.plane_depth,) if isinstance(a, TrigridArchitecture) else ()
        return image.reshape(3, a.plane_channels, *slices, *image.shape[2:])

    def _block(
        self,
        block: Scope,
        x: Tensor | None,
        image: Tensor | None,
        rows: Sequence[Tensor],
        up: bool,
        clamp: float | None,
        noise: str,
    ) -> tuple[Tensor, Tensor]:
        if x is None:
            x = block["const"][None].repeat(len(rows[0]), 1, 1, 1)
        else:
            x = self._layer(block.within("conv0"), x, rows[0], up, clamp, noise)
            rows = rows[1:]
        if "constant_map" in block:
            x = x + block["constant_map"]
        x = self._layer(block.within("conv1"), x, rows[0], False, clamp, noise)
        y = self._to_rgb(block.within("torgb"), x, rows[1], clamp)
        if image is None:
            return x, y
        if up:
            image = upfirdn(image, block["resample_filter"], up=2, pad=(2, 1), gain=4)
        return x, image + y

    def _layer(
        self, layer: Scope, x: Tensor, w: Tensor, up: bool, clamp: float | None, noise: str
    ) -> Tensor:
        x = modulated_convolution(
            x,
            layer["weight"],
            linear(layer.within("affine"), w),
            up=up,
            taps=layer["resample_filter"],
            upsampling=self.upsampling,
        )
        if noise == "const" and "noise_const" in layer:
            x = x + layer["noise_const"] * layer["noise_strength"]
        x = x + layer["bias"][:, None, None]
        x = F.leaky_relu(x, 0.2)
        x = x * math.sqrt(2)
        return x if clamp is None else x.clamp(-clamp, clamp)

    def _to_rgb(self, layer: Scope, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        styles = linear(layer.within("affine"), w) / math.sqrt(x.shape[1])
        y = modulated_convolution(x, layer["weight"], styles, demodulate=False)
        y = y + layer["bias"][:, None, None]
        return y if clamp is None else y.clamp(-clamp, clamp)

    def march(self, planes: Tensor, camera: Camera) -> Seen:
        """Volume rendering of one view of `planes`."""
        a, options = self.architecture, self.architecture.rendering
        size = a.neural_rendering_resolution
        origins, directions = (value[0] for value in camera.rays(size))
        count = options.depth_resolution
        near, far = float(options.ray_start), float(options.ray_end)
        bin_width = (far - near) / (count - 1)
        bins = torch.arange(count, dtype=origins.dtype, device=origins.device) + 0.5
        depths = (near + bins * bin_width).expand(len(origins), count)
        fine = options.depth_resolution_importance
        if options.coarse == "guide":
            with torch.no_grad():
                colours, raw = self._field(planes, origins, directions, depths)
                weights = self._weights(raw, depths)
                depths = sample_depths(depths, weights[..., 0], fine)
            colours, raw = self._field(planes, origins, directions, depths)
        else:
            colours, raw = self._field(planes, origins, directions, depths)
            if fine:
                with torch.no_grad():
                    later = sample_depths(depths, self._weights(raw, depths)[..., 0], fine)
                more = self._field(planes, origins, directions, later)
                depths, order = torch.cat([depths, later], 1).sort(1)
                order = order[..., None]
                colours = torch.cat([colours, more[0]], 1)
                colours = colours.gather(1, order.expand(-1, -1, colours.shape[-1]))
                raw = torch.cat([raw, more[1]], 1).gather(1, order)
        weights = self._weights(raw, depths)
        seen = (weights * (colours[:, :-1] + colours[:, 1:]) / 2).sum(1)
        if options.white_back:
            seen = seen + 1 - weights.sum(1)
        if _activation(a) == "sigmoid":
            seen = seen * 2 - 1
        middles = (depths[:, :-1] + depths[:, 1:]) / 2
        depth = (weights[..., 0] * middles).sum(1).reshape(1, 1, size, size)
        return Seen(seen.t().reshape(1, -1, size, size), depth)

    def _field(
        self, planes: Tensor, origins: Tensor, directions: Tensor, depths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Colours [R, S, C] and raw densities [R, S, 1] at depths [R, S]."""
        a = self.architecture
        points = (origins[:, None] + depths[..., None] * directions[:, None]).reshape(1, -1, 3)
        sampled = self._sample(planes, points * (2 / a.rendering.box_warp))
        features = sampled.reshape(3, planes.shape[1], -1).transpose(1, 2).mean(0)
        net = self.scope.within("decoder.net")
        hidden = F.softplus(linear(net.within("0"), features, a.decoder_lr_mul))
        out = linear(net.within("2"), hidden, a.decoder_lr_mul).reshape(*depths.shape, -1)
        raw, colours = out[..., :1], out[..., 1:]
        if isinstance(a, TrigridArchitecture) and a.rendering.crop is not None:
            limit = a.rendering.box_warp / 2 - a.rendering.crop
            outside = (points[0, :, ::2].abs() > limit).any(1).reshape(raw.shape)
            raw = raw.masked_fill(outside, EMPTY)
        if _activation(a) == "sigmoid":
            colours = torch.sigmoid(colours) * (1 + 2 * 0.001) - 0.001
        elif _activation(a) == "lrelu":
            colours = F.leaky_relu(colours, 0.2) * math.sqrt(2) - 0.5
        return colours, raw

    def _sample(self, planes: Tensor, points: Tensor) -> Tensor:
        """Features of three planes at points [1, P, 3] in [-1, 1], [3, C, ..., P]."""
        deep = planes.ndim == 5
        orders = [
            (u, v, 3 - u - v) if deep else (u, v) for u, v in AXES[self.architecture.plane_axes]
        ]
        axes = F.one_hot(torch.tensor(orders), 3).to(points).transpose(1, 2)
        grid = torch.bmm(points.expand(3, -1, -1), axes)[:, None]
        return F.grid_sample(
            planes,
            grid[:, None] if deep else grid,
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )

    def _weights(self, raw: Tensor, depths: Tensor) -> Tensor:
        """Compositing weights [R, S - 1, 1] of raw densities at depths [R, S]."""
        options = self.architecture.rendering
        middle = (raw[:, :-1] + raw[:, 1:]) / 2
        density = F.softplus(middle * options.density_gain - 1) * options.density_scale
        alpha = 1 - torch.exp(-density * (depths[:, 1:] - depths[:, :-1])[..., None])
        passed = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + ZERO_TAP], 1)
        return alpha * passed.cumprod(1)[:, :-1]

    def superresolve(self, features: Tensor, w: Tensor) -> Tensor:
        """The final image [1, 3, H, W] of features [1, C, h, h] and w [1, w_dim]."""
        a, options = self.architecture, self.architecture.superresolution
        kind, size = KINDS[options.module], features.shape[-1]
        wanted = options.input_resolution or kind.input_resolution
        x, image = features, features[:, :3]
        if isinstance(a, TrigridArchitecture) and a.torgb_raw:
            image = self._to_rgb(self.scope.within("torgb"), features, w, None)
        if size < wanted or (size > wanted and kind.shrink):
            antialias = options.antialias and kind.antialias and size > wanted
            x, image = (
                F.interpolate(
                    value,
                    (wanted, wanted),
                    mode="bilinear",
                    align_corners=False,
                    antialias=antialias,
                )
                for value in (x, image)
            )
        margin = options.margin
        x, image = (F.pad(value, (margin,) * 4, mode="replicate") for value in (x, image))
        clamp = FP16_CLAMP if options.num_fp16_res > 0 else None
        network, rows, noise = self.scope.within("superresolution"), [w] * 3, options.noise_mode
        x, image = self._block(
            network.within("block0"), x, image, rows, kind.first_up, clamp, noise
        )
        image = self._block(network.within("block1"), x, image, rows, True, clamp, noise)[1]
        edge = margin * kind.factor
        kept = slice(edge, image.shape[-1] - edge)
        return image[..., kept, kept]


def _activation(architecture: Architecture) -> str:
    """What the decoder applies to colours."""
    if isinstance(architecture, TrigridArchitecture):
        return architecture.decoder_activation
    return "sigmoid"


def _check(architecture: Architecture, sampling: str) -> None:
    """Refuse what the reference doesn't compute."""
    options = architecture.rendering
    refused = {
        "rendering.ray_start=auto": options.ray_start == "auto",
        "rendering.disparity_space_sampling": options.disparity_space_sampling,
        "superresolution.noise_mode=random": architecture.superresolution.noise_mode == "random",
        "sampling=stochastic": sampling == "stochastic",
        "background": isinstance(architecture, TrigridArchitecture) and architecture.background,
    }
    for name, found in refused.items():
        if found:
            raise ConfigError(
                f"the reference implementation doesn't compute {name}; leave it out, or take "
                "another generator"
            )


class ReferenceStep:
    """One optimiser step over N views, one after the other.

    Args:
        network: what renders.
        ws: [1, num_ws, w_dim].
        camera: N cameras.
        losses: name -> loss and weight.
        target: N targets.
        variables: what the optimiser changes.
        lr: its learning rate.
    """

    def __init__(
        self,
        network: ReferenceNetwork,
        ws: Tensor,
        camera: Camera,
        losses: Mapping[str, WeightedLoss],
        target: Target,
        variables: Sequence[Tensor],
        lr: float,
    ) -> None:
        self.network, self.ws, self.camera = network, ws, camera
        self.losses, self.target = losses, target
        self.optimizer = torch.optim.Adam(list(variables), lr=lr)

    def __call__(self) -> dict[str, float]:
        """Take the step and return every loss summed over the views, "total" weighted."""
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for view in range(len(self.camera)):
            for name, value in self._view(view).items():
                sums[name] = sums[name] + value if name in sums else value
        self.optimizer.step()
        return {name: float(value) for name, value in sums.items()}

    def _view(self, view: int) -> dict[str, Tensor]:
        """Render one view, back-propagate its losses and return them."""
        part = Target(self.target.images[view : view + 1], anchor=self.target.anchor)
        rendering = self.network(self.ws, self.camera[view])
        parts: dict[str, Tensor] = {}
        total = self.ws.new_zeros(())
        for name, one in self.losses.items():
            with torch.no_grad():
                prepared = one.loss.prepare(part)
            parts[name] = one.loss(rendering, prepared).sum()
            total = total + one.weight * parts[name]
        total.backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in {**parts, "total": total}.items()}
