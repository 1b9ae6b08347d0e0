"""How far a face is from its mirror image, place by place: unsup3d's confidence network.

Wu et al., Unsupervised Learning of Probably Symmetric Deformable 3D Objects (2020). TriPlaneNet
compares a head with its mirror image less where this network expects a difference. Module names
are those of the published file, which keeps them under "netC".
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from inv3d.nn.encoders.options import ConfidenceOptions
from inv3d.nn.resample import bilinear

SIZE = 64
# TriPlaneNet brings pictures to this size before they are made small
_BETWEEN = 256


class ConfidenceNetwork(nn.Module):
    """A face to the scales of its expected errors: straight and mirrored, fine and coarse."""

    def __init__(self, options: ConfidenceOptions) -> None:
        super().__init__()
        w = options.width
        self.network = nn.Sequential(
            _down(options.inputs, w), _norm(w, 16), nn.LeakyReLU(0.2),
            _down(w, 2 * w), _norm(2 * w, 32), nn.LeakyReLU(0.2),
            _down(2 * w, 4 * w), _norm(4 * w, 64), nn.LeakyReLU(0.2),
            _down(4 * w, 8 * w), nn.LeakyReLU(0.2),
            nn.Conv2d(8 * w, options.code, 4, 1, 0, bias=False), nn.ReLU(),
            nn.ConvTranspose2d(options.code, 8 * w, 4, 1, 0, bias=False), nn.ReLU(),
            _up(8 * w, 4 * w), _norm(4 * w, 64), nn.ReLU(),
            _up(4 * w, 2 * w), _norm(2 * w, 32), nn.ReLU(),
        )  # fmt: skip
        self.out_net1 = nn.Sequential(
            _up(2 * w, w), _norm(w, 16), nn.ReLU(),
            _up(w, w), _norm(w, 16), nn.ReLU(),
            nn.Conv2d(w, options.outputs, 5, 1, 2, bias=False), nn.Softplus(),
        )  # fmt: skip
        self.out_net2 = nn.Sequential(
            nn.Conv2d(2 * w, options.outputs, 3, 1, 1, bias=False), nn.Softplus()
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return scales, straight, mirrored: [N, outputs, 64, 64] of pixels, [N, outputs, 16, 16].

        Args:
            images: [N, 3, 64, 64] in [-1, 1].
        """
        shared = self.network(images)
        return self.out_net1(shared), self.out_net2(shared)


def mirror_uncertainty(network: nn.Module, images: Tensor, size: int) -> Tensor:
    """Return how far faces may be from their mirror images, [N, size, size], greater than 0.

    Its pixels are those of the mirrored pictures, since a mirrored picture is what it weighs.

    Args:
        network: a `ConfidenceNetwork`.
        images: [N, 3, H, H] in [-1, 1], not mirrored.
        size: pixels a side.
    """
    small = bilinear(bilinear(images, _BETWEEN, antialias=False), SIZE, antialias=False)
    scales, _ = network(small)
    return bilinear(scales[:, 1:2], size, antialias=False)[:, 0].flip(-1)


def _down(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)


def _up(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    """Return a norm of as many groups as the published network has, fewer in a narrow one."""
    return nn.GroupNorm(math.gcd(groups, channels), channels)
