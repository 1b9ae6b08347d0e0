"""The losses of a network that tells real from made, and of what it is to be taken in by.

The non-saturating logistic loss of StyleGAN2, and the gradient penalty R1 (Mescheder et al., 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Return the loss of a discriminator, a scalar.

    The dual encoder's equations 8 and 9, as printed, take what was encoded for real; that would
    work with the encoder instead of against it.

    Args:
        real: its scores of what the generator made of its own latents.
        made: its scores of what was encoded.
    """
    return F.softplus(-real).mean() + F.softplus(made).mean()


def encoder_loss(made: Tensor) -> Tensor:
    """Return the loss of an encoder whose results a discriminator gave scores, a scalar."""
    return F.softplus(-made).mean()


def gradient_penalty(scores: Tensor, real: Tensor, gamma: float) -> Tensor:
    """Return R1, gamma / 2 times the mean square of the gradient's length, a scalar.

    Where it's taken at every n-th step only, it counts n times.

    Args:
        scores: of the real ones, with their graph.
        real: what was judged, [N, ...]; it requires its gradient.
        gamma: its weight.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
    return gamma / 2 * gradient.square().flatten(1).sum(1).mean()
