"""Encoders that make latents of the trunk's last map: a single one (W), or all at once (W+)."""

from __future__ import annotations

from torch import Tensor, nn

from inv3d.nn.encoders.options import EncoderOptions
from inv3d.nn.ir_se import body, entrance
from inv3d.nn.layers import EqualLinear

_SIDE = 7


class WEncoder(nn.Module):
    """Pictures to one latent, from the mean of the last map.

    Args:
        options: sizes; any size of picture will do.
        w_dim: numbers of a latent.
    """

    def __init__(self, options: EncoderOptions, w_dim: int) -> None:
        super().__init__()
        trunk = options.trunk
        self.input_layer = entrance(3, trunk.width)
        self.linear = EqualLinear(8 * trunk.width, w_dim)
        self.body = body(trunk.units, trunk.width, trunk.squeeze_excite)

    def forward(self, images: Tensor) -> Tensor:
        """Return latents [N, 1, w_dim] of images [N, 3, H, W] in [-1, 1]."""
        code: Tensor = self.linear(self.body(self.input_layer(images)).mean((2, 3)))
        return code[:, None]


class WPlusEncoder(nn.Module):
    """Pictures to all latents, from the last map at 7 x 7.

    Args:
        options: sizes; any size of picture will do.
        num_ws: latents that are made.
        w_dim: numbers of a latent.
    """

    def __init__(self, options: EncoderOptions, num_ws: int, w_dim: int) -> None:
        super().__init__()
        trunk = options.trunk
        width = 8 * trunk.width
        self.num_ws = num_ws
        self.input_layer = entrance(3, trunk.width)
        self.output_layer_2 = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.AdaptiveAvgPool2d(_SIDE),
            nn.Flatten(),
            nn.Linear(width * _SIDE * _SIDE, w_dim),
        )
        self.linear = EqualLinear(w_dim, w_dim * num_ws)
        self.body = body(trunk.units, trunk.width, trunk.squeeze_excite)

    def forward(self, images: Tensor) -> Tensor:
        """Return latents [N, num_ws, w_dim] of images [N, 3, H, W] in [-1, 1]."""
        codes: Tensor = self.linear(self.output_layer_2(self.body(self.input_layer(images))))
        return codes.view(len(codes), self.num_ws, -1)
