"""How far heads lie from true ones all around: Fréchet's distance of headid-b's embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.loss import Target, load_loss
from inv3d.report.views import render_views


@torch.no_grad()
def embeddings(images: Tensor) -> Tensor:
    """Return headid-b's unit embeddings [N, 128] of images [N, 3, H, W] in [-1, 1]."""
    made: Tensor = load_loss("headid", {"network": "b"}).prepare(Target(images))
    return made


def around(
    generator: Generator, found: Inversion, cameras: Camera, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the embeddings of what a result looks like all around, and of the true head.

    Args:
        generator: tuned for the result.
        found: the result.
        cameras: N, all around, as they lie to the result.
        images: [N, 3, H, W] in [-1, 1] of the true head.

    Returns:
        made and true, each [N, 128].
    """
    seen = [part.require("image") for _, part in render_views(generator, found, cameras)]
    return embeddings(torch.cat(seen)), embeddings(images)


def frechet(first: Tensor, second: Tensor) -> float:
    """Return Fréchet's distance of two sets of features as if they were Gaussian.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", equation 6: the squared distance
    of means plus the trace of A + B - 2 (A B)^(1/2) of the covariances A and B.

    Args:
        first: [N, D], N at least 2.
        second: [M, D], M at least 2.
    """
    (mean, spread), (other, wide) = (
        (v.double().mean(0), torch.cov(v.double().T)) for v in (first, second)
    )
    values, vectors = torch.linalg.eigh(spread)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ wide @ root).clamp_min(0).sqrt().sum()
    return float((mean - other).square().sum() + spread.trace() + wide.trace() - 2 * shared)
