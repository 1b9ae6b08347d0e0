"""The known factors of z as a layer: what `params` makes of z, in ramps and sums of ramps.

The generator knows nothing of heads: its layer is fitted to `factors` here, once, and is part of
its weights from then on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from inv3d.nn.known_factors import FACTOR_LIMIT, KnownFactors
from tools.minihead.layout import Z_DIM
from tools.minihead.params import expression, identity_params, scene_params

RAMPS = 384
GAIN = 12.0  # small factors are learned sooner where w carries them strongly
# Functions of others or patterns of strands.
LEFT_OUT = ("phase", "brow_width")
_CHOSEN = 1 << 14


def factors(z: Tensor) -> Tensor:
    """Return the factors [B, F] of z [B, 52], as they are."""
    params = identity_params(z) | scene_params(z) | expression(z)
    age = params["age"]
    params |= {"young": (0.35 - age).clamp(min=0), "old": (age - 0.6).clamp(min=0)}
    params["fall"] = params["long"] * (6.75 - params["tip"])  # of hair, decimetres
    params["tint"] = params["tint"][:, :1]
    params["light"] = params["light"][:, :2]
    values = [v.reshape(len(z), -1) for name, v in params.items() if name not in LEFT_OUT]
    return torch.cat(values, 1)


FACTORS = factors(torch.zeros(1, Z_DIM)).shape[1]


def targets(z: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Return what the layer should make of z [B, 52]: factors by mean and spread [F], limited."""
    return ((factors(z) - mean) / spread).clamp(-FACTOR_LIMIT, FACTOR_LIMIT)


def fit_known_factors(layer: KnownFactors, steps: int = 3000, seed: int = 5) -> float:
    """Fit a layer to `factors` and return the worst share of a factor's variance that it has.

    Args:
        layer: of Z_DIM numbers and FACTORS factors.
        steps: of gradient descent; the sums are then the best ones for the ramps found.
        seed: of everything that's drawn.
    """
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(_CHOSEN, Z_DIM, generator=rng)
    made = factors(z)
    mean, spread = made.mean(0), made.std(0)
    ramps = _first_ramps(len(layer.slopes), rng)
    sums = torch.zeros(len(spread), len(layer.slopes))
    values = [v.requires_grad_() for v in (*ramps, sums, torch.zeros(len(spread)))]
    slopes, offsets, sums, shift = values
    optimizer = torch.optim.Adam(values, lr=1e-2, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / steps)
        z = torch.randn(1024, Z_DIM, generator=rng)
        found = (z @ slopes.t() + offsets).clamp(0, 1) @ sums.t() + shift
        loss = F.mse_loss(found, targets(z, mean, spread))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for name, value in zip(("slopes", "offsets"), (slopes, offsets), strict=True):
            getattr(layer, name).copy_(value)
        layer.gain.fill_(GAIN)
        _best_sums(layer, mean, spread, rng)
        z = torch.randn(_CHOSEN, Z_DIM, generator=rng)
        wanted = targets(z, mean, spread)
        missing = (layer(z) - wanted).square().mean(0) / wanted.var(0)
    return 1 - float(missing.max())


def _first_ramps(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ramps along single numbers of z, of several places and widths, then along mixtures."""
    single = count * 2 // 3
    direction = torch.randn(count, Z_DIM, generator=rng) / 3
    direction[:single] = torch.eye(Z_DIM)[torch.arange(single) % Z_DIM]
    width = 0.8 + 3 * torch.rand(count, 1, generator=rng)
    start = torch.randn(count, 1, generator=rng) - width / 2
    return direction / width, (-start / width)[:, 0]


def _best_sums(layer: KnownFactors, mean: Tensor, spread: Tensor, rng: torch.Generator) -> None:
    """Set sums and shift by least squares, in double precision."""
    z = torch.randn(4 * _CHOSEN, Z_DIM, generator=rng)
    ramps = (z @ layer.slopes.t() + layer.offsets).clamp(0, 1).double()
    inputs = torch.cat([ramps, torch.ones(len(z), 1, dtype=torch.double)], 1)
    normal = inputs.t() @ inputs
    normal += 1e-3 * torch.eye(len(normal), dtype=torch.double)
    found = torch.linalg.solve(normal, inputs.t() @ targets(z, mean, spread).double())
    layer.sums.copy_(found[:-1].t())
    layer.shift.copy_(found[-1])
