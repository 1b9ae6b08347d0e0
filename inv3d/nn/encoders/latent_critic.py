"""What keeps e4e's latents where the generator's own lie: a discriminator and its memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SLOPE = 0.2


class LatentDiscriminator(nn.Module):
    """Latents to one score each, greater for those that look like the mapping network's.

    Args:
        w_dim: numbers of a latent.
        layers: linear ones.
    """

    def __init__(self, w_dim: int, layers: int = 4) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        for _ in range(layers - 1):
            hidden += [nn.Linear(w_dim, w_dim), nn.LeakyReLU(_SLOPE)]
        self.mlp = nn.Sequential(*hidden, nn.Linear(w_dim, 1))

    def forward(self, w: Tensor) -> Tensor:
        """Return scores [..., 1] of latents [..., w_dim]."""
        scores: Tensor = self.mlp(w)
        return scores


class LatentPool(nn.Module):
    """Latents that were made before, half of which a discriminator is shown instead of new ones.

    What it holds is part of the state dict, so that a training goes on exactly where it stopped.

    Args:
        w_dim: numbers of a latent.
        size: latents that are remembered.
    """

    stored: Tensor
    count: Tensor

    def __init__(self, w_dim: int, size: int = 50) -> None:
        super().__init__()
        self.register_buffer("stored", torch.zeros(size, w_dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, w: Tensor, rng: torch.Generator) -> Tensor:
        """Return latents to show, [N, w_dim], without gradient.

        Until the pool is full they are those that are given, and it keeps them. From then on each
        one is shown, or stands in for one of the pool, which is shown, with equal chances.

        Args:
            w: [N, w_dim], those that were just made.
            rng: draws, on the CPU.
        """
        shown, count = w.detach().clone(), int(self.count)
        for row, latent in enumerate(w.detach()):
            if count < len(self.stored):
                self.stored[count] = latent
                count += 1
            elif float(torch.rand((), generator=rng)) < 0.5:
                place = int(torch.randint(len(self.stored), (), generator=rng))
                shown[row] = self.stored[place]
                self.stored[place] = latent
        self.count.fill_(count)
        return shown


def spread(ws: Tensor, deltas: int) -> Tensor:
    """Return how far latents are from the first one, a scalar: lengths, summed over latents.

    Args:
        ws: [N, num_ws, w_dim].
        deltas: latents, from the second on, that may differ from the first.
    """
    lengths: Tensor = torch.linalg.vector_norm(ws[:, 1 : deltas + 1] - ws[:, :1], dim=2)
    return lengths.sum(1).mean()
