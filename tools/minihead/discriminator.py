"""The critic of the last phase: a small convolutional network whose features also compare."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Critic(nn.Module):
    """Judges patches of images [N, 3, 128, 128] in [-1, 1].

    Args:
        channels: of the stride-two convolutions.
    """

    def __init__(self, channels: tuple[int, ...] = (48, 96, 192, 256)) -> None:
        super().__init__()
        before = 3
        self.blocks = nn.ModuleList()
        for after in channels:
            layer = nn.utils.parametrizations.spectral_norm(nn.Conv2d(before, after, 4, 2, 1))
            self.blocks.append(layer)
            before = after
        self.out = nn.Conv2d(before, 1, 3, 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return patch scores [N, 1, h, w] and the features of every block."""
        features, x = [], image
        for block in self.blocks:
            x = F.leaky_relu(block(x), 0.2)
            features.append(x)
        return self.out(x), features


def critic_loss(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss (Lim and Ye, Geometric GAN, eq. 7)."""
    scores, _ = critic(torch.cat([real, fake.detach()]))
    good, bad = scores.chunk(2)
    return F.relu(1 - good).mean() + F.relu(1 + bad).mean()


def generator_losses(critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Return the adversarial loss and the feature distance (pix2pixHD, eq. 4)."""
    with torch.no_grad():
        _, wanted = critic(real)
    scores, made = critic(fake)
    distance = sum(
        ((a - b).abs().mean() for a, b in zip(made, wanted, strict=True)), fake.new_zeros(())
    )
    return -scores.mean(), distance
