"""Depth consistency of several latents: multi-view inversion paper, eq. 6, and its running form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def own_view_consistency(depths: Tensor, latents: Sequence[int] | None = None) -> Tensor:
    """Return eq. 6 for K of M latents, [K], as a mean over pixels.

    Latent i, seen from its own camera c_i, is compared with the mean over all latents seen from
    c_i. The gradient reaches every latent, through the mean too.

    Args:
        depths: [K, M, h, w]; a row is what the own camera of one of them sees of all M latents.
        latents: numbers of the K; all M if None.
    """
    own = depths[range(len(depths)), range(len(depths)) if latents is None else latents]
    return (own - depths.mean(1)).square().mean((1, 2))


class DepthStore:
    """The last depth map of every latent from every camera, as in the official code.

    One step renders all latents from one camera. A latent's loss is its squared difference from
    the mean of the maps stored for that camera, and its own map is replaced after that, so later
    latents of the same step already see it. A first visit stores and costs nothing.

    Attributes:
        maps: [cameras, latents, h, w], world units.
        visited: [cameras, latents] bool.
    """

    def __init__(
        self,
        cameras: int,
        latents: int,
        size: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.maps = torch.zeros(cameras, latents, *size, device=device)
        self.visited = torch.zeros(cameras, latents, dtype=torch.bool, device=device)

    def buffers(self) -> dict[str, Tensor]:
        """Return the tensors that change in place, for checkpoints."""
        return {"depth_maps": self.maps, "depth_visited": self.visited}

    def loss(self, depth: Tensor, camera: int, latent: int) -> Tensor:
        """Return the loss of one latent (a scalar) and store its map.

        Args:
            depth: [1, h, w] or [1, 1, h, w], seen from the camera.
            camera: number of the camera.
            latent: number of the latent.
        """
        shape = self.maps.shape[-2:]
        depth = depth.reshape(shape)
        error = (depth - self._mean(camera)).square().mean()
        error = error * self.visited[camera, latent].clone()
        self.maps[camera, latent] = depth.detach()
        self.visited[camera, latent] = True
        return error

    def _mean(self, camera: int) -> Tensor:
        """Mean of the maps that were stored for a camera; zeros before there's one."""
        known = self.visited[camera].to(self.maps)[:, None, None]
        return (self.maps[camera] * known).sum(0) / known.sum().clamp_min(1)

    def losses(self, depths: Tensor, camera: int, first: int = 0) -> Tensor:
        """Return the losses of consecutive latents, [N], in their order.

        Args:
            depths: [N, 1, h, w], all from one camera.
            camera: its number.
            first: number of the first latent.
        """
        return self.losses_of(depths, camera, range(first, first + len(depths)))

    def losses_of(self, depths: Tensor, camera: int, latents: Sequence[int]) -> Tensor:
        """Return the losses of some latents, [N], in their order; see `losses`."""
        pairs = zip(depths, latents, strict=True)
        return torch.stack([self.loss(depth, camera, latent) for depth, latent in pairs])
