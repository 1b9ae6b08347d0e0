"""The feature pyramid of pSp and e4e: a picture to what every latent is made of.

Richardson et al., Encoding in Style (2021). Module names are those of the published files.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from inv3d.nn.encoders.options import EncoderOptions
from inv3d.nn.ir_se import body, entrance, run_units
from inv3d.nn.layers import EqualLinear

# first latents that are made of the middle and of the fine map
MIDDLE, FINE = 3, 7
_SLOPE = 0.01


class StyleBlock(nn.Module):
    """A map to one latent: convolutions that halve it to a single pixel, then a linear layer."""

    def __init__(self, inputs: int, channels: int, outputs: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [nn.Conv2d(inputs, channels, 3, 2, 1), nn.LeakyReLU(_SLOPE)]
            inputs = channels
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, h] to [N, outputs]."""
        code: Tensor = self.linear(self.convs(x).flatten(1))
        return code


class StylePyramid(nn.Module):
    """Trunk, pyramid and one block a latent.

    Args:
        options: sizes.
        num_ws: latents that are made.
        w_dim: numbers of a latent.
    """

    def __init__(self, options: EncoderOptions, num_ws: int, w_dim: int) -> None:
        super().__init__()
        trunk, size = options.trunk, options.size
        width = 8 * trunk.width
        self.taps = group_ends(trunk.units)[1:]
        self.input_layer = entrance(3, trunk.width)
        self.body = body(trunk.units, trunk.width, trunk.squeeze_excite)
        channels = options.style_channels or width
        halvings = [(size // side).bit_length() - 1 for side in (16, 8, 4)]
        self.styles = nn.ModuleList(
            StyleBlock(width, channels, w_dim, halvings[level_of(i)]) for i in range(num_ws)
        )
        self.latlayer1 = nn.Conv2d(width // 2, width, 1)
        self.latlayer2 = nn.Conv2d(width // 4, width, 1)

    def levels(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the maps of coarse, middle and fine latents, each [N, C, h, h].

        Args:
            images: [N, 3, size, size] in [-1, 1].
        """
        fine, middle, coarse = run_units(self.body, self.input_layer(images), self.taps)
        yield coarse
        joined = _enlarged(coarse, middle) + self.latlayer1(middle)
        yield joined
        yield _enlarged(joined, fine) + self.latlayer2(fine)

    def each(self, images: Tensor, count: int) -> Iterator[Tensor]:
        """Yield what the first blocks make of pictures, each [N, w_dim]; no map is made in vain."""
        levels = self.levels(images)
        for number, block in enumerate(self.styles[:count]):
            if number in (0, MIDDLE, FINE):
                level = next(levels)
            yield block(level)


def level_of(number: int) -> int:
    """Return which map a latent is made of: 0 coarse, 1 middle, 2 fine."""
    return (number >= MIDDLE) + (number >= FINE)


def group_ends(units: tuple[int, ...]) -> list[int]:
    """Return the number of the last unit of every group."""
    return [sum(units[: group + 1]) - 1 for group in range(len(units))]


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
